package conformance

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/internal/need"
)

// library is the bare prometheus/tsdb, without what nocturne's store puts
// around it.
type library struct{ *tsdb.DB }

func (l library) Append(series string, t int64, v float64) error {
	app := l.Appender(context.Background())
	if _, err := app.Append(0, labels.FromStrings("__name__", series), t, v); err != nil {
		return errors.Join(err, app.Rollback())
	}
	return app.Commit()
}

// Sync has nothing to call: the library offers none.
func (l library) Sync() error { return nil }

func (l library) Select(series string, from, to int64) ([]Point, error) {
	q, err := l.Querier(from, to)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", series))
	var points []Point
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			points = append(points, Point{t, v})
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
	}
	return points, set.Err()
}

func (l library) Delete(series string, from, to int64) error {
	return l.DB.Delete(context.Background(), from, to, labels.MustNewMatcher(labels.MatchEqual, "__name__", series))
}

func (l library) Settle() error { return l.Compact(context.Background()) }

var bare = Subject{
	Name: "prometheus/tsdb v0.315.0, bare",
	Open: func(dir string) (Store, error) {
		o := tsdb.DefaultOptions()
		o.MinBlockDuration, o.MaxBlockDuration = (20 * time.Minute).Milliseconds(), (40 * time.Minute).Milliseconds()
		o.RetentionDuration = (3 * time.Hour).Milliseconds()
		o.OutOfOrderTimeWindow = (30 * time.Minute).Milliseconds()
		db, err := tsdb.Open(dir, slog.New(slog.DiscardHandler), nil, o, nil)
		return library{db}, err
	},
	Log: func(dir string) (string, error) {
		segments, err := filepath.Glob(filepath.Join(dir, "wal", "[0-9]*"))
		if err == nil && len(segments) == 0 {
			err = errors.New("no segment")
		}
		if err != nil {
			return "", err
		}
		return slices.Max(segments), nil
	},
	Claims: Claims{Late: 30 * time.Minute, Block: 20 * time.Minute, Retention: 3 * time.Hour, Delete: true},
}

// TestBareLibrary shows what the library does by itself, and where
// nocturne's store has to help: with damaged blocks.
func TestBareLibrary(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and with the race detector longer")
	}
	_, r := need.Seed(t)
	for _, v := range Run(t, bare, r, ReadBack, Special, Bounds, Duplicates, Late, Reopen, Deletion, Retention, KillTwice, CutFiles) {
		if !v.Skip && v.Pass == (v.Case == CutFiles) {
			t.Errorf("the verdict has changed, revisit docs/decisions/0001-history-on-prometheus-tsdb.md: %s", v)
		}
	}
}
