package forward_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"

	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
)

func startContext(testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

// series is number n of the tests'.
func series(n int) labels.Labels {
	return labels.FromStrings("__name__", "forwarded", "instance", fmt.Sprintf("host-%03d", n), "job", "test")
}

// polls are samples of n series every 15 s from from on, until to. Of each
// tenth series a sample comes eight minutes late now and then, and of each
// twentieth a staleness marker.
func polls(n int, from, to time.Time) []tsdb.Sample {
	var out []tsdb.Sample
	for at := from; at.Before(to); at = at.Add(15 * time.Second) {
		ms := at.UnixMilli()
		step := int(ms / 15000)
		for i := range n {
			v := float64(ms%1e9) + float64(i)/8
			if i%20 == 3 && step%40 == i {
				v = math.Float64frombits(value.StaleNaN)
			}
			out = append(out, tsdb.Sample{Labels: series(i), T: ms, V: v})
			if i%10 == 7 && step%16 == 0 {
				out = append(out, tsdb.Sample{Labels: series(i), T: ms - 8*60_000 + 1, V: v + 0.5})
			}
		}
	}
	return out
}

func hoursAgo(h float64) time.Time {
	return time.Now().Add(-time.Duration(h * float64(time.Hour))).Truncate(15 * time.Second)
}

func TestEverySampleArrives(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{forward.Protocol1, forward.Protocol2} {
		t.Run(protocol, func(t *testing.T) {
			r := newFake(t)
			h := openHouse(t, t.TempDir(), forward.Receiver{
				Name: "one", URL: r.URL, Protocol: protocol, MaxSamples: 500, Headers: map[string]secret.Text{"X-Scope-OrgID": "hall"},
				Credential: func() (forward.Credential, error) {
					return forward.Credential{Username: "u", Password: secret.Text("p")}, nil
				},
			})
			want := polls(50, hoursAgo(1), hoursAgo(0.5))
			h.append(t, want)
			r.lacks(t, want, 60*time.Second)
			h.stop()
			if len(r.got) != len(want) {
				t.Errorf("%d samples came, %d were sent", len(r.got), len(want))
			}
			for _, head := range r.headers {
				if head.Get("Authorization") != "Basic dTpw" || head.Get("X-Scope-OrgID") != "hall" || head.Get("Content-Encoding") != "snappy" {
					t.Fatalf("headers %v", head)
				}
			}
			s := h.f.Status()[0]
			if int(s.Sent) != len(want) || s.Refused+s.Dropped+s.Retries != 0 || s.Protocol != protocol || s.Lag != 0 || s.Position.IsZero() || s.Waiting != 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// TestBehindTheLog lets a receiver be dead, or ourselves be down, until the log
// has been cut, and restarts in between.
func TestBehindTheLog(t *testing.T) {
	t.Parallel()
	r, dir := newFake(t), t.TempDir()
	to := forward.Receiver{Name: "one", URL: r.URL}
	first := polls(60, hoursAgo(6), hoursAgo(5.5))
	h := openHouse(t, dir, to)
	h.append(t, first)
	r.lacks(t, first, 60*time.Second)
	r.answers(func(w http.ResponseWriter, _ []tsdb.Sample) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	had := segments(t, h.db.LogDir())
	second := polls(60, hoursAgo(5.5), hoursAgo(3))
	h.append(t, second)
	h.truncated(t, had)
	h.stop()
	h = openHouse(t, dir, to)
	had = segments(t, h.db.LogDir())
	third := polls(60, hoursAgo(3), hoursAgo(0))
	h.append(t, third)
	h.truncated(t, had)
	h.stop()
	r.answers(nil)
	h = openHouse(t, dir, to)
	all := append(append(first, second...), third...)
	r.lacks(t, all, 60*time.Second)
	if r.count() != len(all) {
		t.Errorf("%d samples came, %d were sent", r.count(), len(all))
	}
	need.Within(t, 10*time.Second, func() error {
		if s := h.f.Status()[0]; s.Lag != 0 || !s.CatchUpFrom.IsZero() || s.Failing {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// truncated tells whether the log has lost segments that it had.
func (h *house) truncated(t testing.TB, had []int) {
	t.Helper()
	if now := segments(t, h.db.LogDir()); now[0] <= had[len(had)-1] {
		t.Fatalf("the log begins with segment %d, it ended with %d", now[0], had[len(had)-1])
	}
}

func segments(t testing.TB, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, e := range entries {
		var n int
		if _, err := fmt.Sscanf(e.Name(), "%08d", &n); err == nil && !e.IsDir() {
			out = append(out, n)
		}
	}
	return out
}

func TestLabels(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	h := openHouse(t, t.TempDir(), forward.Receiver{
		Name: "one", URL: r.URL, ExternalLabels: map[string]string{"site": "north", "job": "not this one"},
		Relabel: []*relabel.Config{{
			SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("up|go_.*"), Action: relabel.Drop,
			Separator: ";", Replacement: "$1",
		}},
	})
	now := time.Now().UnixMilli()
	h.append(t, []tsdb.Sample{
		{Labels: labels.FromStrings("__name__", "up", "job", "a"), T: now, V: 1},
		{Labels: labels.FromStrings("__name__", "go_threads", "job", "a"), T: now, V: 1},
		{Labels: labels.FromStrings("__name__", "load", "job", "a"), T: now, V: 3},
	})
	r.lacks(t, []tsdb.Sample{{Labels: labels.FromStrings("__name__", "load", "job", "a", "site", "north"), T: now, V: 3}}, 10*time.Second)
	h.stop()
	if s := h.f.Status()[0]; r.count() != 1 || s.Dropped != 2 || s.Sent != 1 {
		t.Errorf("%d came; status %+v", r.count(), s)
	}
}

// TestLagOfAReceiverThatNeverAnswered is told before the forwarder runs, too:
// by it the store decides what may be deleted.
func TestLagOfAReceiverThatNeverAnswered(t *testing.T) {
	t.Parallel()
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h := &house{db: db}
	h.appendAll(t, polls(2, hoursAgo(1), hoursAgo(0.9)))
	f, err := forward.New(forward.Options{
		Source: db, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Receivers: []forward.Receiver{{Name: "dead", URL: "http://127.0.0.1:1/api/v1/write"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := f.Status()[0]; s.Lag < 59*time.Minute {
		t.Errorf("lag %s before anything is known, want an hour", s.Lag)
	}
	ctx, cancel := startContext(t)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	need.Within(t, 10*time.Second, func() error {
		if s := f.Status()[0]; !s.Failing {
			return fmt.Errorf("not failing: %+v", s)
		}
		return nil
	})
	if s := f.Status()[0]; s.Lag < 59*time.Minute {
		t.Errorf("lag %s of a receiver that has nothing, want an hour", s.Lag)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
