// Package live keeps the last minutes, at one second, of the series that a
// page is watching. It fills the right end of a chart at once and carries the
// stream that follows; what must be kept is in package tsdb.
//
// It stands on nakabonne/tstorage in memory, which decides its shape:
//
//   - tstorage never frees what it holds in memory and takes 72 bytes a point,
//     so each key has a row of generations of three minutes: the newest in a
//     storage, those before it packed as history packs its chunks, and the
//     oldest is dropped whole. Series and memory are
//     bounded; where a bound is reached, the key watched least recently goes.
//   - Its first insert of a series races with reads, and Select returns its
//     own memory: one mutex stands before all of it and results are copied.
//   - It does not return points that came out of order: those are refused.
package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/model/labels"
)

const (
	// pointBytes is what a point takes in a storage, seriesBytes what a series
	// takes there beforehand, chunkBytes what a packed chunk takes besides its
	// content; TestMemoryIsBounded holds them against the heap.
	pointBytes  = 64
	seriesBytes = 9000
	chunkBytes  = 160
)

var (
	refusedLate = metrics.GetOrCreateCounter(`nocturne_tsdb_live_points_refused_total{reason="out_of_order"}`)
	refusedFull = metrics.GetOrCreateCounter(`nocturne_tsdb_live_points_refused_total{reason="series_cap"}`)
	refusedBig  = metrics.GetOrCreateCounter(`nocturne_tsdb_live_points_refused_total{reason="memory_cap"}`)
	evicted     = metrics.GetOrCreateCounter(`nocturne_tsdb_live_keys_evicted_total`)
)

// Options bound a Window. Zero values mean the defaults.
type Options struct {
	MaxSeries int           // over all keys (500)
	MaxBytes  int           // of memory for points and series, over all keys (64 MiB)
	Window    time.Duration // how far back points are kept (15 min)
}

// Point is one value of one series at T, Unix milliseconds.
type Point struct {
	Labels labels.Labels
	T      int64
	V      float64
}

// XY is a point of a known series.
type XY struct {
	T int64
	V float64
}

// Series is what Select found of one series, oldest point first.
type Series struct {
	Labels labels.Labels
	Points []XY
}

// Window holds the last minutes of the watched keys. A key names a set of
// series, such as an item's.
type Window struct {
	maxSeries int
	maxBytes  int
	span      time.Duration

	mu     sync.Mutex // guards all below, tstorage included
	keys   map[string]*record
	series int    // over all keys
	points int    // held, over all keys
	held   int    // bytes of memory for points, about
	clock  uint64 // counts Watch calls, to order them
	reads  uint64
}

// record is one key: who looks at it and what came in.
type record struct {
	watchers map[chan int64]struct{} // with their news
	watched  uint64                  // the latest Watch
	data     generations
}

// Stats say what a window holds.
type Stats struct {
	Keys, Watched  int
	Series, Points int
	Bytes          int    // of memory, about
	Reads          uint64 // how often Select was asked, by queries too
}

// Stats returns the present figures.
func (w *Window) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Stats{Keys: len(w.keys), Series: w.series, Points: w.points, Bytes: w.bytes(), Reads: w.reads}
	for _, r := range w.keys {
		if len(r.watchers) > 0 {
			s.Watched++
		}
	}
	return s
}

func (w *Window) bytes() int { return w.held + w.series*seriesBytes }

// New returns an empty window.
func New(o Options) (*Window, error) {
	if o.MaxSeries < 0 || o.MaxBytes < 0 || o.Window < 0 {
		return nil, errors.New("live window: negative option")
	}
	return &Window{
		maxSeries: cmp.Or(o.MaxSeries, 500),
		maxBytes:  cmp.Or(o.MaxBytes, 64<<20),
		span:      cmp.Or(o.Window, 15*time.Minute),
		keys:      map[string]*record{},
	}, nil
}

// Run drops what has left the window until ctx ends.
func (w *Window) Run(ctx context.Context) error {
	tick := time.NewTicker(w.span / generationsKept)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			w.trim(now)
		}
	}
}

func (w *Window) trim(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := now.Add(-w.span).UnixMilli()
	for key, r := range w.keys {
		w.freed(r.data.dropBefore(oldest))
		w.forget(key, r)
	}
}

// Watch marks a key as watched, and subscribes to it, until release is called,
// which closes news. After each Append that kept points of the key, news has
// the time of the newest, in Unix milliseconds. A reader that is slow finds the
// latest news alone and loses nothing by it: the points are in the window, see
// Select. They are evicted after those of keys watched less recently.
func (w *Window) Watch(key string) (news <-chan int64, release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record(key)
	w.clock++
	r.watched = w.clock
	ch := make(chan int64, 1)
	r.watchers[ch] = struct{}{}
	return ch, sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(r.watchers, ch)
		close(ch)
		w.forget(key, r)
	})
}

// Watched lists the keys watched now, in order.
func (w *Window) Watched() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []string
	for key, r := range w.keys {
		if len(r.watchers) > 0 {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Append takes points of a key and tells those who watch it. Points that are
// not newer than their series' last, and those that find no room, are counted
// and left out.
func (w *Window) Append(key string, points []Point) error {
	if len(points) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record(key)
	defer w.forget(key, r)
	kept := make([]Point, 0, len(points))
	for _, p := range points {
		if !r.data.newer(p) {
			refusedLate.Inc()
		} else if w.room(key, r, p, len(kept)) {
			w.series += r.data.note(p)
			kept = append(kept, p)
		}
	}
	w.points += len(kept)
	w.held += len(kept) * pointBytes
	if err := w.insert(r, kept); err != nil {
		return fmt.Errorf("keep %d live points of %s: %w", len(kept), key, err)
	}
	r.tell(kept)
	return nil
}

func (w *Window) insert(r *record, points []Point) error {
	freed, err := r.data.insert(points, w.span)
	w.freed(freed)
	return err
}

// freed takes what left a key off the totals.
func (w *Window) freed(f freed) {
	w.series -= f.series
	w.points -= f.points
	w.held -= f.bytes
}

// room makes room for one more point of r, beside the pending ones. It evicts
// keys watched less recently than r and, where memory is short, lets go of
// the oldest of r itself. It reports whether there is room.
func (w *Window) room(key string, r *record, p Point, pending int) bool {
	known := r.data.has(p.Labels)
	for !known && w.series >= w.maxSeries {
		if !w.evictBefore(key, r) {
			refusedFull.Inc()
			return false
		}
	}
	for w.bytes()+(pending+1)*pointBytes+seriesBytes > w.maxBytes {
		if w.evictBefore(key, r) {
			continue
		}
		if len(r.data.row) < 2 {
			refusedBig.Inc()
			return false
		}
		w.freed(r.data.dropOldest())
	}
	return true
}

// evictBefore evicts the key that goes first, if it goes before r.
func (w *Window) evictBefore(key string, r *record) bool {
	victim := ""
	for k, other := range w.keys {
		if k == key || other.data.series() == 0 || !other.before(r) {
			continue
		}
		if victim == "" || other.before(w.keys[victim]) {
			victim = k
		}
	}
	if victim == "" {
		return false
	}
	v := w.keys[victim]
	w.freed(v.data.clear())
	w.forget(victim, v)
	evicted.Inc()
	return true
}

// before orders records by who goes first: unwatched ones, then those watched
// least recently.
func (r *record) before(o *record) bool {
	if mine, others := len(r.watchers) > 0, len(o.watchers) > 0; mine != others {
		return others
	}
	return r.watched < o.watched
}

// tell gives all watchers the time of the newest of the points, in the place
// of news that still wait.
func (r *record) tell(points []Point) {
	if len(points) == 0 {
		return
	}
	newest := slices.MaxFunc(points, func(a, b Point) int { return cmp.Compare(a.T, b.T) }).T
	for ch := range r.watchers {
		t := newest
		select {
		case waiting := <-ch:
			t = max(t, waiting)
		default:
		}
		ch <- t // only here is sent, under the mutex: there is room
	}
}

// record returns a key's record, a new one when there is none.
func (w *Window) record(key string) *record {
	r, ok := w.keys[key]
	if !ok {
		r = &record{watchers: map[chan int64]struct{}{}}
		w.keys[key] = r
	}
	return r
}

// forget removes a record that nobody looks at and that holds nothing.
func (w *Window) forget(key string, r *record) {
	if len(r.watchers) == 0 && r.data.series() == 0 && w.keys[key] == r {
		delete(w.keys, key)
	}
}

// Select returns the series that carry all of the given labels, with their
// points from from to to, both included and not older than the window. The
// result is a copy. A series that several keys hold appears once.
func (w *Window) Select(match labels.Labels, from, to time.Time) ([]Series, error) {
	oldest := time.Now().Add(-w.span)
	if from.Before(oldest) {
		from = oldest
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	found := map[string]Series{}
	for key, r := range w.keys {
		some, err := r.data.selectSeries(match, from.UnixMilli(), to.UnixMilli())
		if err != nil {
			return nil, fmt.Errorf("read live points of %s: %w", key, err)
		}
		for _, s := range some {
			id := string(s.Labels.Bytes(nil))
			if len(s.Points) > len(found[id].Points) {
				found[id] = s
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Series) int { return labels.Compare(a.Labels, b.Labels) }), nil
}
