package web

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"nocturne/views/dash"
	"nocturne/views/ui"
)

// tile is a key figure by a query over everything.
type tile struct {
	label, query, unit, hint, href string
	show                           func(float64) string
}

var tiles = []tile{
	{"Traffic", `sum(rate(ifHCInOctets[1m])) * 8`, "bit/s", "received by all interfaces", "/topology", metric},
	{"CPU busy", `100 * (1 - sum(rate(node_cpu_seconds_total{mode="idle"}[1m])) / sum(rate(node_cpu_seconds_total[1m])))`, "%", "of all hosts together", "/devices?kind=host", percent},
	{"Memory used", `100 * (1 - sum(node_memory_MemAvailable_bytes) / sum(node_memory_MemTotal_bytes))`, "%", "of all hosts together", "/devices?kind=host", percent},
	{"Fullest disk", `100 * max(1 - node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"} / node_filesystem_size_bytes)`, "%", "of all file systems", "/reports", percent},
}

const (
	// tileAge is how long the figures are shown before they are asked for anew.
	tileAge = 15 * time.Second
	// tileStep and tilePoints are the grid of the small charts: the last hour.
	tileStep, tilePoints = time.Minute, 61
)

// tileBoard holds the key figures. They read all series, so no page waits for
// them: it shows what is there, and a stream tells it when there is more.
type tileBoard struct {
	wanted chan struct{} // of capacity 1: a page found them old

	mu    sync.Mutex // guards below
	at    time.Time
	drawn uint64 // times that they were asked for
	tiles []dash.Tile

	past map[string]map[int64]float64 // by label and Unix time on the grid; run's alone
}

func newTileBoard() *tileBoard {
	b := &tileBoard{wanted: make(chan struct{}, 1), past: map[string]map[int64]float64{}}
	for _, t := range tiles {
		b.tiles = append(b.tiles, dash.Tile{Label: t.label, Value: "–", Hint: "being read", Href: t.href})
	}
	return b
}

// now returns the figures and how often they were asked for.
func (b *tileBoard) now() ([]dash.Tile, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.at) >= tileAge {
		select {
		case b.wanted <- struct{}{}:
		default:
		}
	}
	return b.tiles, b.drawn
}

// keepTiles asks for the figures when a page wants them anew, which an open
// one does every 15 s, and tells the streams, until ctx ends.
func (s *Server) keepTiles(ctx context.Context) {
	b := s.figures
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wanted:
			if b.age() < tileAge {
				continue
			}
		}
		found, err := s.askTiles(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			s.log.Error("figures of the overview", "err", err)
		}
		b.set(found)
		s.hub.tellFigures(nil)
	}
}

func (b *tileBoard) age() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.at)
}

func (b *tileBoard) set(found []dash.Tile) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at, b.tiles, b.drawn = time.Now(), found, b.drawn+1
}

// askTiles answers each figure with its last hour. What was not seen is left
// out.
func (s *Server) askTiles(ctx context.Context, now time.Time) ([]dash.Tile, error) {
	var out []dash.Tile
	var errs []error
	for _, t := range tiles {
		last, err := s.tileValue(ctx, t, now)
		if err == nil && !math.IsNaN(last) {
			err = s.tilePast(ctx, t, now)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if math.IsNaN(last) {
			continue
		}
		spark := &ui.Spark{Points: make([]float64, tilePoints), Label: t.label + " in the last hour", Last: t.show(last) + " " + t.unit}
		end := now.Truncate(tileStep)
		for i := range spark.Points {
			v, ok := s.figures.past[t.label][end.Add(tileStep*time.Duration(i-tilePoints+1)).Unix()]
			if !ok {
				v = math.NaN()
			}
			spark.Points[i] = v
		}
		spark.Points[tilePoints-1] = last
		out = append(out, dash.Tile{Label: t.label, Value: t.show(last), Unit: t.unit, Hint: t.hint, Href: t.href, Spark: spark})
	}
	return out, errors.Join(errs...)
}

// tileValue is the figure now; NaN when it is not seen.
func (s *Server) tileValue(ctx context.Context, t tile, now time.Time) (float64, error) {
	res, err := s.History.Query(ctx, t.query, now)
	if err != nil {
		return 0, err
	}
	v, err := res.Vector()
	if err != nil || len(v) == 0 {
		return math.NaN(), err
	}
	return v[0].F, nil
}

// tilePast brings the hour of a figure up to date: only what is new is asked
// for, and the newest points again, since samples may come late.
func (s *Server) tilePast(ctx context.Context, t tile, now time.Time) error {
	const again = 2 * tileStep
	past := s.figures.past[t.label]
	end := now.Truncate(tileStep)
	first := end.Add(-tileStep * (tilePoints - 1))
	from := first
	for at := range past {
		if at < first.Unix() {
			delete(past, at)
		} else if known := time.Unix(at, 0).Add(-again); known.After(from) {
			from = known
		}
	}
	res, err := s.History.QueryRange(ctx, t.query, from, end, tileStep)
	if err != nil {
		return err
	}
	m, err := res.Matrix()
	if err != nil {
		return err
	}
	if past == nil {
		past = map[int64]float64{}
		s.figures.past[t.label] = past
	}
	for _, series := range m {
		for _, p := range series.Floats {
			past[p.T/1000] = p.F
		}
	}
	return nil
}
