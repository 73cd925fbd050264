package live

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/nakabonne/tstorage"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// generationsKept is how many generations hold a window: the one written to
// and those before it, each a fifth of a window long.
const generationsKept = 6

// generations hold the points of one key in a row, oldest first: the newest in
// a storage, those before it packed. The zero value is empty.
type generations struct {
	known map[string]*seriesState // by the bytes of the labels
	row   []generation
	next  int // number of the next series
}

type generation struct {
	store       tstorage.Storage                // nil once it is packed
	packed      map[string][]*chunkenc.XORChunk // by metric
	low         int64                           // no point before it is taken
	first, last int64                           // times of its first insert and of its newest point
	points      int
	bytes       int // of memory for them, about
}

// freed is what left with a generation, or with all.
type freed struct{ series, points, bytes int }

func (f freed) plus(o freed) freed {
	return freed{f.series + o.series, f.points + o.points, f.bytes + o.bytes}
}

type seriesState struct {
	labels labels.Labels
	metric string // its name in the storages: a number, since theirs is bounded
	last   int64
}

func (g *generations) series() int { return len(g.known) }

func (g *generations) has(ls labels.Labels) bool { return g.known[string(ls.Bytes(nil))] != nil }

// newer tells whether a point follows the last one of its series and is not
// so late that the newest generation refuses it.
func (g *generations) newer(p Point) bool {
	if n := len(g.row); n > 0 && p.T < g.row[n-1].low {
		return false
	}
	s := g.known[string(p.Labels.Bytes(nil))]
	return s == nil || p.T > s.last
}

// note makes p the last point of its series and returns how many series are
// new by it.
func (g *generations) note(p Point) int {
	id := string(p.Labels.Bytes(nil))
	if s := g.known[id]; s != nil {
		s.last = p.T
		return 0
	}
	if g.known == nil {
		g.known = map[string]*seriesState{}
	}
	g.next++
	g.known[id] = &seriesState{labels: p.Labels.Copy(), metric: strconv.Itoa(g.next), last: p.T}
	return 1
}

// insert stores noted points and returns what went with the generations that
// left the window.
func (g *generations) insert(points []Point, span time.Duration) (freed, error) {
	if len(points) == 0 {
		return freed{}, nil
	}
	first, last := points[0].T, points[0].T
	rows := make([]tstorage.Row, 0, len(points))
	for _, p := range points {
		first, last = min(first, p.T), max(last, p.T)
		rows = append(rows, tstorage.Row{
			Metric:    g.known[string(p.Labels.Bytes(nil))].metric,
			DataPoint: tstorage.DataPoint{Timestamp: p.T, Value: p.V},
		})
	}
	length := span.Milliseconds() / (generationsKept - 1)
	var gone freed
	if n := len(g.row); n == 0 || last-g.row[n-1].first >= length {
		store, err := newStore(max(1, first-length), span)
		if err != nil {
			return gone, err
		}
		if n > 0 {
			old := &g.row[n-1]
			before := old.bytes
			if err := g.pack(old); err != nil {
				return gone, err
			}
			gone.bytes += before - old.bytes
		}
		g.row = append(g.row, generation{store: store, low: max(1, first-length), first: first})
		for len(g.row) > generationsKept {
			gone = gone.plus(g.dropOldest())
		}
	}
	newest := &g.row[len(g.row)-1]
	newest.last = max(newest.last, last)
	newest.points += len(points)
	newest.bytes += len(points) * pointBytes
	return gone, newest.store.InsertRows(rows)
}

// pack turns a generation that is written to no more from 72 bytes a point,
// which tstorage takes, into a few.
func (g *generations) pack(gen *generation) error {
	gen.packed, gen.bytes = make(map[string][]*chunkenc.XORChunk, len(g.known)), 0
	for _, s := range g.known {
		points, err := gen.read(nil, s.metric, math.MinInt64+1, math.MaxInt64-1)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(points, math.MaxUint16) { // a chunk counts in 16 bits
			chunk := chunkenc.NewXORChunk()
			app, err := chunk.Appender()
			if err != nil {
				return err
			}
			for _, p := range some {
				app.Append(0, p.T, p.V)
			}
			chunk.Compact()
			gen.bytes += len(chunk.Bytes()) + chunkBytes
			gen.packed[s.metric] = append(gen.packed[s.metric], chunk)
		}
	}
	gen.store = nil // in memory it has neither files nor goroutines
	return nil
}

// read appends the points of a metric from from to to, both included.
func (gen *generation) read(points []XY, metric string, from, to int64) ([]XY, error) {
	if gen.store != nil {
		// The end is exclusive, unless it is the time of the newest point.
		got, err := gen.store.Select(metric, nil, from, to+1)
		if err != nil && !errors.Is(err, tstorage.ErrNoDataPoints) {
			return nil, err
		}
		points = slices.Grow(points, len(got))
		for _, p := range got {
			if p.Timestamp <= to {
				points = append(points, XY{p.Timestamp, p.Value})
			}
		}
		return points, nil
	}
	for _, chunk := range gen.packed[metric] {
		points = slices.Grow(points, chunk.NumSamples())
		it := chunk.Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			if t, v := it.At(); t >= from && t <= to {
				points = append(points, XY{t, v})
			}
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
	}
	return points, nil
}

// newStore returns a storage that takes points from low on. Its one partition
// never fills up, since only whole storages are dropped. A partition refuses
// what is older than its first point, so that is one of no series.
func newStore(low int64, span time.Duration) (tstorage.Storage, error) {
	store, err := tstorage.NewStorage(
		tstorage.WithTimestampPrecision(tstorage.Milliseconds),
		tstorage.WithPartitionDuration(100*span),
	)
	if err != nil {
		return nil, err
	}
	return store, store.InsertRows([]tstorage.Row{{Metric: "low", DataPoint: tstorage.DataPoint{Timestamp: low}}})
}

// dropBefore drops the generations whose newest point is older than t and
// returns what went with them.
func (g *generations) dropBefore(t int64) freed {
	var gone freed
	for len(g.row) > 0 && g.row[0].last < t {
		gone = gone.plus(g.dropOldest())
	}
	return gone
}

// dropOldest leaves the storage to the garbage collector: in memory it has
// neither files nor goroutines, and closing it copies it about.
func (g *generations) dropOldest() freed {
	gone := freed{points: g.row[0].points, bytes: g.row[0].bytes}
	g.row[0] = generation{}
	g.row = g.row[1:]
	if len(g.row) == 0 {
		return gone.plus(g.clear())
	}
	for id, s := range g.known {
		if s.last < g.row[0].low {
			delete(g.known, id)
			gone.series++
		}
	}
	return gone
}

// clear drops everything and returns what that was.
func (g *generations) clear() freed {
	gone := freed{series: len(g.known)}
	for _, gen := range g.row {
		gone.points += gen.points
		gone.bytes += gen.bytes
	}
	*g = generations{next: g.next}
	return gone
}

func (g *generations) selectSeries(match labels.Labels, from, to int64) ([]Series, error) {
	var found []Series
	for _, s := range g.known {
		if !carries(s.labels, match) {
			continue
		}
		points, err := g.points(s.metric, from, to)
		if err != nil {
			return nil, err
		}
		if len(points) > 0 {
			found = append(found, Series{Labels: s.labels, Points: points})
		}
	}
	return found, nil
}

func (g *generations) points(metric string, from, to int64) ([]XY, error) {
	var points []XY
	for _, gen := range g.row {
		if from > to || gen.last < from || gen.low > to {
			continue
		}
		var err error
		if points, err = gen.read(points, metric, from, to); err != nil {
			return nil, err
		}
	}
	return points, nil
}

// carries tells whether ls has all labels of match.
func carries(ls, match labels.Labels) bool {
	all := true
	match.Range(func(l labels.Label) {
		all = all && ls.Get(l.Name) == l.Value
	})
	return all
}
