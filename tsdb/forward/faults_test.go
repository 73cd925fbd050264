package forward_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
)

func status(code int) func(http.ResponseWriter, []tsdb.Sample) bool {
	return func(w http.ResponseWriter, _ []tsdb.Sample) bool {
		http.Error(w, "because", code)
		return true
	}
}

// times answers n times so, and as usual after that.
func times(n int64, a func(http.ResponseWriter, []tsdb.Sample) bool) func(http.ResponseWriter, []tsdb.Sample) bool {
	var done atomic.Int64
	return func(w http.ResponseWriter, list []tsdb.Sample) bool { return done.Add(1) <= n && a(w, list) }
}

// TestWhatPasses meets a receiver with faults that are tried again.
func TestWhatPasses(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]func(http.ResponseWriter, []tsdb.Sample) bool{
		"500": status(http.StatusInternalServerError),
		"503": status(http.StatusServiceUnavailable),
		"408": status(http.StatusRequestTimeout),
		"429": status(http.StatusTooManyRequests),
		"hangs": func(http.ResponseWriter, []tsdb.Sample) bool {
			<-time.After(time.Second) // the sender has gone by then
			return true
		},
		"resets": func(w http.ResponseWriter, _ []tsdb.Sample) bool {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFake(t)
			r.answers(times(2, a))
			h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL, Timeout: 400 * time.Millisecond})
			want := polls(5, hoursAgo(0.1), hoursAgo(0))
			h.append(t, want)
			r.lacks(t, want, 60*time.Second)
			need.Within(t, 5*time.Second, func() error {
				if s := h.f.Status()[0]; s.Refused != 0 || s.Retries < 2 || s.LastError == "" || s.Failing || int(s.Sent) != len(want) {
					return fmt.Errorf("status %+v", s)
				}
				return nil
			})
		})
	}
}

// TestRetryAfter meets receivers that say when to come again: one that is
// asked too much, and one of our own whose disk is full.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			r := newFake(t)
			var asked, again atomic.Int64
			r.answers(func(w http.ResponseWriter, _ []tsdb.Sample) bool {
				if asked.CompareAndSwap(0, time.Now().UnixNano()) {
					w.Header().Set("Retry-After", "2")
					w.WriteHeader(code)
					return true
				}
				again.CompareAndSwap(0, time.Now().UnixNano())
				return false
			})
			h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL})
			want := polls(5, hoursAgo(0.1), hoursAgo(0))
			h.append(t, want)
			r.lacks(t, want, 60*time.Second)
			if d := time.Duration(again.Load() - asked.Load()); d < 2*time.Second {
				t.Errorf("tried again after %s, the receiver asked for 2 s", d)
			}
		})
	}
}

// TestOneBadSample meets a receiver that throws away a whole request for one
// sample, as Prometheus does under protocol 1.
func TestOneBadSample(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	bad := func(s tsdb.Sample) bool { return s.V == 13 }
	r.answers(func(w http.ResponseWriter, list []tsdb.Sample) bool {
		if slices.ContainsFunc(list, bad) {
			http.Error(w, "out of order", http.StatusBadRequest)
			return true
		}
		return false
	})
	h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL, Protocol: forward.Protocol1})
	now := time.Now().UnixMilli()
	var all, good []tsdb.Sample
	for i := range 1000 {
		s := tsdb.Sample{Labels: series(i), T: now, V: float64(i % 400)}
		all = append(all, s)
		if !bad(s) {
			good = append(good, s)
		}
	}
	h.append(t, all)
	r.lacks(t, good, 60*time.Second)
	need.Within(t, 5*time.Second, func() error {
		if s := h.f.Status()[0]; s.Refused != 3 || s.Sent != 997 || !strings.Contains(s.LastError, "out of order") || s.Retries != 0 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// TestManyBadSamples loses at most a few good ones, and those next to bad ones,
// beside a hundred bad ones in a row and one that stands alone.
func TestManyBadSamples(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	bad := func(s tsdb.Sample) bool { return s.V < 100 || s.V == 777 }
	r.answers(func(w http.ResponseWriter, list []tsdb.Sample) bool {
		if slices.ContainsFunc(list, bad) {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return false
	})
	h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL, Shards: 1})
	var all, alone []tsdb.Sample
	for i := range 1000 {
		s := tsdb.Sample{Labels: series(i), T: time.Now().UnixMilli(), V: float64(i)}
		if all = append(all, s); i >= 110 && (i < 770 || i > 784) {
			alone = append(alone, s)
		}
	}
	h.append(t, all)
	r.lacks(t, alone, 20*time.Second)
	need.Within(t, 5*time.Second, func() error {
		if s := h.f.Status()[0]; s.Sent+s.Refused != 1000 || s.Sent < 889 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// TestNothingIsTaken bounds what refusals cost, and loses no time over them.
func TestNothingIsTaken(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	r.answers(status(http.StatusBadRequest))
	h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL, MaxSamples: 100, Shards: 1})
	want := polls(50, hoursAgo(0.1), hoursAgo(0))
	h.append(t, want)
	need.Within(t, 20*time.Second, func() error {
		if s := h.f.Status()[0]; int(s.Refused) != len(want) || s.Lag != 0 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	if most := 130 + 20*(len(want)/100+10); r.requests > most {
		t.Errorf("%d requests for %d samples, at most %d are bearable", r.requests, len(want), most)
	}
	// What was refused does not stand in the way of what follows, not even of
	// what stands beside a bad sample.
	r.answers(func(w http.ResponseWriter, list []tsdb.Sample) bool {
		if slices.ContainsFunc(list, func(s tsdb.Sample) bool { return s.V == 13 }) {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return false
	})
	var more, good []tsdb.Sample
	for i := range 90 {
		s := tsdb.Sample{Labels: labels.FromStrings("__name__", "later", "n", fmt.Sprint(i)), T: time.Now().UnixMilli(), V: float64(i)}
		if more = append(more, s); i != 13 {
			good = append(good, s)
		}
	}
	h.append(t, more)
	r.lacks(t, good, 10*time.Second)
	need.Within(t, 5*time.Second, func() error {
		if s := h.f.Status()[0]; int(s.Refused) != len(want)+1 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// TestUnwelcome keeps samples until someone has mended the credential.
func TestUnwelcome(t *testing.T) {
	t.Parallel()
	for _, code := range []int{401, 403, 404, 302} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			r, dir := newFake(t), t.TempDir()
			r.answers(status(code))
			to := forward.Receiver{Name: "one", URL: r.URL}
			h := openHouse(t, dir, to)
			want := polls(5, hoursAgo(0.1), hoursAgo(0))
			h.append(t, want)
			need.Within(t, 10*time.Second, func() error {
				if s := h.f.Status()[0]; !s.Failing || !strings.Contains(s.LastError, fmt.Sprint(code)) || s.Refused+s.Sent != 0 {
					return fmt.Errorf("status %+v", s)
				}
				return nil
			})
			h.stop()
			r.answers(nil)
			openHouse(t, dir, to)
			r.lacks(t, want, 10*time.Second)
		})
	}
}

// TestOldReceiver speaks protocol 2 to receivers that do not.
func TestOldReceiver(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]func(http.ResponseWriter, []tsdb.Sample) bool{
		"says so":     status(http.StatusUnsupportedMediaType),
		"stays quiet": status(http.StatusOK),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFake(t)
			r.answers(times(1, a))
			h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL, Protocol: forward.Protocol2, Shards: 1})
			want := polls(5, hoursAgo(0.1), hoursAgo(0))
			h.append(t, want)
			r.lacks(t, want, 10*time.Second)
			if s := h.f.Status()[0]; s.Protocol != forward.Protocol1 || s.Refused != 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// TestPartialWrite believes what a receiver of protocol 2 says that it took.
func TestPartialWrite(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	r.answers(func(w http.ResponseWriter, list []tsdb.Sample) bool {
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(len(list)-1))
		http.Error(w, "one is too old", http.StatusBadRequest)
		return true
	})
	h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL, Protocol: forward.Protocol2})
	h.append(t, polls(10, hoursAgo(0.1), hoursAgo(0)))
	need.Within(t, 10*time.Second, func() error {
		s := h.f.Status()[0]
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.Refused == 0 || int(s.Refused) != r.requests || s.Sent == 0 || s.Lag != 0 {
			return fmt.Errorf("%d requests, status %+v", r.requests, s)
		}
		return nil
	})
}

// TestDeadBesideLiving lets one of two receivers hang: neither the other nor
// appends wait for it, and neither does the end.
func TestDeadBesideLiving(t *testing.T) {
	t.Parallel()
	living, dead := newFake(t), newFake(t)
	hang := make(chan struct{})
	release := sync.OnceFunc(func() { close(hang) })
	t.Cleanup(release)
	dead.answers(func(http.ResponseWriter, []tsdb.Sample) bool { <-hang; return true })
	dir := t.TempDir()
	to := []forward.Receiver{{Name: "dead", URL: dead.URL}, {Name: "living", URL: living.URL}}
	h := openHouse(t, dir, to...)
	want := polls(20, hoursAgo(1), hoursAgo(0))
	start := time.Now()
	h.append(t, want)
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("appending took %s", d)
	}
	living.lacks(t, want, 10*time.Second)
	start = time.Now()
	h.stop()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("stopping took %s", d)
	}
	release()
	dead.answers(nil)
	openHouse(t, dir, to...)
	dead.lacks(t, want, 60*time.Second)
}

// TestStopFlushes ends just after an append.
func TestStopFlushes(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL})
	first := polls(5, hoursAgo(0.2), hoursAgo(0.1))
	h.append(t, first)
	r.lacks(t, first, 10*time.Second)
	want := polls(5, hoursAgo(0.1), hoursAgo(0))
	h.append(t, want)
	h.stop()
	r.lacks(t, want, 0)
}

// TestOrder sends by several requests at once, in the order of each series.
func TestOrder(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	r.answers(func(http.ResponseWriter, []tsdb.Sample) bool {
		time.Sleep(rand.N(10 * time.Millisecond)) // so that requests overtake each other
		return false
	})
	h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL, MaxSamples: 50, Shards: 8})
	var want []tsdb.Sample
	for _, s := range polls(40, hoursAgo(0.3), hoursAgo(0)) {
		if s.T%1000 == 0 {
			want = append(want, s)
		}
	}
	h.append(t, want)
	r.lacks(t, want, 60*time.Second)
	if diff := cmp.Diff(0, r.disorder); diff != "" {
		t.Errorf("samples that came before older ones of their series (-want +got):\n%s", diff)
	}
}
