package forward_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/util/compression"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
)

// key is one sample of one series.
type key struct {
	series string
	t      int64
}

// fake is a receiver that keeps what it accepts, bit by bit.
type fake struct {
	*httptest.Server

	mu       sync.Mutex
	got      map[key]uint64
	order    map[string]int64 // newest time of each series, to see them in order
	disorder int
	requests int
	headers  []http.Header
	// answer, where set, answers before the samples are kept; it returns
	// whether it did.
	answer func(w http.ResponseWriter, list []tsdb.Sample) bool
}

func newFake(t testing.TB) *fake {
	f := &fake{got: map[key]uint64{}, order: map[string]int64{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) answers(a func(http.ResponseWriter, []tsdb.Sample) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = a
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	packed, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off by the sender
	}
	body, err := compression.Decode(compression.Snappy, packed, compression.NewConcurrentDecodeBuffer())
	if err != nil {
		panic(err)
	}
	list := decode(r.Header.Get("Content-Type"), body)
	f.mu.Lock()
	answer := f.answer
	f.requests++
	f.headers = append(f.headers, r.Header)
	f.mu.Unlock()
	if answer != nil && answer(w, list) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range list {
		name := s.Labels.String()
		if last, ok := f.order[name]; ok && s.T < last {
			f.disorder++
		}
		f.order[name] = s.T
		f.got[key{name, s.T}] = math.Float64bits(s.V)
	}
	if strings.Contains(r.Header.Get("Content-Type"), "v2") {
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(len(list)))
	}
	w.WriteHeader(http.StatusNoContent)
}

func decode(kind string, body []byte) []tsdb.Sample {
	var out []tsdb.Sample
	b := labels.NewScratchBuilder(8)
	if strings.Contains(kind, "v2") {
		var req writev2.Request
		if err := req.Unmarshal(body); err != nil {
			panic(err)
		}
		for _, ts := range req.Timeseries {
			ls, err := ts.ToLabels(&b, req.Symbols)
			if err != nil {
				panic(err)
			}
			for _, s := range ts.Samples {
				out = append(out, tsdb.Sample{Labels: ls, T: s.Timestamp, V: s.Value})
			}
		}
		return out
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(body); err != nil {
		panic(err)
	}
	for _, ts := range req.Timeseries {
		ls := ts.ToLabels(&b, nil)
		for _, s := range ts.Samples {
			out = append(out, tsdb.Sample{Labels: ls, T: s.Timestamp, V: s.Value})
		}
	}
	return out
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// lacks waits until every sample has come, and fails with what has not.
func (f *fake) lacks(t testing.TB, want []tsdb.Sample, within time.Duration) {
	t.Helper()
	need.Within(t, within, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		missing := 0
		for _, s := range want {
			v, ok := f.got[key{s.Labels.String(), s.T}]
			if !ok {
				missing++
			} else if v != math.Float64bits(s.V) {
				t.Fatalf("%s at %d is %x, want %x", s.Labels, s.T, v, math.Float64bits(s.V))
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d samples have not come, %d have", missing, len(want), len(f.got))
		}
		return nil
	})
}

// house is a store with a forwarder.
type house struct {
	db    *tsdb.DB
	f     *forward.Forwarder
	stop  func() // ends the forwarder and closes the store
	young bool   // too young for its head to be cut
}

// block is the shortest that the store writes: 20 minutes.
const blockInterval = 5 * time.Second

func openHouse(t testing.TB, dir string, to ...forward.Receiver) *house {
	t.Helper()
	return openLogging(t, dir, slog.New(slog.DiscardHandler), to...)
}

func openLogging(t testing.TB, dir string, log *slog.Logger, to ...forward.Receiver) *house {
	t.Helper()
	db, err := tsdb.Open(tsdb.Options{Dir: filepath.Join(dir, "history"), Interval: blockInterval, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := forward.New(forward.Options{Source: db, Dir: filepath.Join(dir, "forward"), Receivers: to, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := startContext(t)
	done := make(chan error, 2)
	go func() { done <- db.Run(ctx) }()
	go func() { done <- f.Run(ctx) }()
	_, _, old := db.Bounds()
	h := &house{db: db, f: f, young: !old}
	h.stop = sync.OnceFunc(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

// append stores samples and lets the head be cut, as it would be in the time
// that they stand for.
func (h *house) append(t testing.TB, list []tsdb.Sample) {
	t.Helper()
	for len(list) > 0 {
		end := list[0].T + (25 * time.Minute).Milliseconds()
		n := slices.IndexFunc(list, func(s tsdb.Sample) bool { return s.T > end })
		if n < 0 {
			h.appendAll(t, list)
			return
		}
		before := segments(t, h.db.LogDir())
		h.appendAll(t, list[:n])
		list = list[n:]
		need.Within(t, 10*time.Second, func() error {
			if now := segments(t, h.db.LogDir()); !h.young && slices.Max(now) == slices.Max(before) {
				return errors.New("the head was not cut")
			}
			return nil
		})
		h.young = false
	}
}

func (h *house) appendAll(t testing.TB, list []tsdb.Sample) {
	t.Helper()
	for len(list) > 0 {
		n := min(len(list), 1000)
		r, err := h.db.Append(t.Context(), list[:n])
		if err != nil || r.Appended != n {
			t.Fatalf("append: %+v %v", r, err)
		}
		list = list[n:]
	}
}
