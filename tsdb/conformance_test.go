package tsdb_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/conformance"
)

// asStore is a tsdb.DB as the suite sees it.
type asStore struct{ *tsdb.DB }

func (s asStore) Append(series string, t int64, v float64) error {
	r, err := s.DB.Append(context.Background(), []tsdb.Sample{{Labels: labels.FromStrings("__name__", series), T: t, V: v}})
	if err == nil && r.Appended != 1 {
		err = errors.New("sample rejected")
	}
	return err
}

func (s asStore) Sync() error { return s.Synced(context.Background()) }

// Delete implements conformance.Deleter.
func (s asStore) Delete(series string, from, to int64) error {
	return s.DB.Delete(context.Background(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", series)}, time.UnixMilli(from), time.UnixMilli(to))
}

// Settle writes what is full as blocks and deletes what is too old.
func (s asStore) Settle() error { return s.SettleBlocks(context.Background()) }

func (s asStore) Select(series string, from, to int64) ([]conformance.Point, error) {
	q, err := s.Queryable().Querier(from, to)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", series))
	var points []conformance.Point
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			points = append(points, conformance.Point{T: t, V: v})
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
	}
	return points, set.Err()
}

var subject = conformance.Subject{
	Name: "tsdb.DB",
	Open: func(dir string) (conformance.Store, error) {
		db, err := tsdb.Open(tsdb.Options{Dir: dir, Log: slog.New(slog.DiscardHandler), Interval: time.Second, Retention: 3 * time.Hour})
		return asStore{db}, err
	},
	Log:    newestSegment,
	Claims: conformance.Claims{Late: 30 * time.Minute, Block: 20 * time.Minute, Retention: 3 * time.Hour, Delete: true},
}

// newestSegment returns the last log segment in dir that has data.
func newestSegment(dir string) (string, error) {
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "[0-9]*"))
	if err != nil {
		return "", err
	}
	for _, path := range slices.Backward(segments) {
		if st, err := os.Stat(path); err == nil && st.Size() > 0 {
			return path, nil
		}
	}
	return "", errors.New("no segment has data")
}

func TestMain(m *testing.M) {
	conformance.Child(subject)
	child()
	liveChild()
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	var only []string
	if testing.Short() { // what the race detector can find something in
		only = []string{conformance.FirstInsert, conformance.ReadWrite, conformance.Rollover, conformance.Deletion, conformance.Retention}
	}
	_, r := need.Seed(t)
	for _, v := range conformance.Run(t, subject, r, only...) {
		if !v.Pass && !v.Skip {
			t.Error(v)
		}
	}
}
