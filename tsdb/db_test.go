package tsdb

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"nocturne/internal/need"
)

func open(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := Open(Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// reopen closes db first.
func reopen(t *testing.T, db *DB, dir string) *DB {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func appendAll(t *testing.T, db *DB, s ...Sample) AppendResult {
	t.Helper()
	r, err := db.Append(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func value(t *testing.T, db *DB, expr string, at time.Time) float64 {
	t.Helper()
	r, err := db.Query(t.Context(), expr, at)
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Vector()
	if err != nil {
		t.Fatal(err)
	}
	if len(v) != 1 {
		return math.NaN()
	}
	return v[0].F
}

func TestAppendCountsWhatItRejects(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	now := time.Now().Truncate(time.Millisecond)
	up := labels.FromStrings("__name__", "up", "instance", "a")
	at := func(d time.Duration, v float64) Sample { return Sample{up, now.Add(d).UnixMilli(), v} }

	got := appendAll(t, db,
		at(0, 1),
		Sample{labels.FromStrings("instance", "nameless"), now.UnixMilli(), 1},
		Sample{labels.FromStrings("__name__", "up", "bad", "\xff"), now.UnixMilli(), 1},
		Sample{labels.FromStrings("__name__", "température", "où", "là"), now.UnixMilli(), 21},
	)
	if diff := cmp.Diff(AppendResult{Appended: 2, Invalid: 2}, got); diff != "" {
		t.Errorf("first append (-want +got):\n%s", diff)
	}
	got = appendAll(t, db, at(0, 2), at(-10*time.Minute, 3), at(-31*time.Minute, 4), at(time.Second, 5))
	if diff := cmp.Diff(AppendResult{Appended: 2, Duplicate: 1, TooOld: 1}, got); diff != "" {
		t.Errorf("second append (-want +got):\n%s", diff)
	}
	want := AppendResult{Appended: 4, Duplicate: 1, TooOld: 1, Invalid: 2}
	if diff := cmp.Diff(want, db.Stats().Appended); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
	db = reopen(t, db, dir)
	if v := value(t, db, `sum(count_over_time(up[1h]))`, now.Add(time.Minute)); v != 3 {
		t.Errorf("%g samples of up after reopening, want 3", v)
	}
	if v := value(t, db, `{"température"}`, now.Add(time.Minute)); v != 21 {
		t.Errorf("température = %g, want 21", v)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if db, err := Open(Options{Dir: dir}); err == nil {
		db.Close()
		t.Fatal("a second Open succeeded")
	}
}

func TestFailedSyncStopsAcknowledging(t *testing.T) {
	db := open(t, t.TempDir())
	s := Sample{labels.FromStrings("__name__", "up"), time.Now().UnixMilli(), 1}
	appendAll(t, db, s)
	if err := db.Synced(t.Context()); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk gone")
	real := db.logs.fsync
	db.logs.fsync = func(*os.File) error { return broken }
	s.T++
	appendAll(t, db, s)
	open, err := db.Source("open").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.T++
	ref := open.Append(s.Labels, s.T, s.V)
	other, err := db.Source("open").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- db.Run(ctx) }()
	need.Until(t, "Run's sync fails", func() bool { return db.Stats().SyncErr != nil })
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("Run: %v, want it to go on without samples", err)
	}
	db.logs.fsync = real // a later sync would lie
	if r, err := open.Commit(); !errors.Is(err, broken) || !errors.Is(err, ErrReadOnly) || r.Appended > 0 {
		t.Errorf("Commit of a batch that was open: %+v, %v, want the sync's error", r, err)
	}
	other.AppendRef(ref, s.T+1, s.V)
	if r, err := other.Commit(); !errors.Is(err, broken) || r.Appended > 0 {
		t.Errorf("Commit of a batch that was begun: %+v, %v, want the sync's error", r, err)
	}
	if _, err := db.Append(t.Context(), []Sample{s}); !errors.Is(err, broken) {
		t.Errorf("Append: %v, want the sync's error", err)
	}
	if err := db.Synced(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Synced: %v, want the sync's error", err)
	}
	if s := db.Stats(); !errors.Is(s.SyncErr, broken) || !errors.Is(s.ReadOnly, ErrReadOnly) {
		t.Errorf("Stats: %v and %v, want the sync's error and ErrReadOnly", s.SyncErr, s.ReadOnly)
	}
}

func TestQueriesAreBounded(t *testing.T) {
	db, err := Open(Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), MaxSamples: 10, MaxConcurrent: 1, QueryTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now()
	for i := range 20 {
		appendAll(t, db, Sample{labels.FromStrings("__name__", "up"), now.Add(time.Duration(i) * time.Second).UnixMilli(), 1})
	}
	_, err = db.Query(t.Context(), `up[5m]`, now.Add(time.Minute))
	if _, ok := errors.AsType[promql.ErrTooManySamples](err); !ok {
		t.Errorf("20 samples of 10: %v", err)
	}
	hold, held := make(chan struct{}), make(chan struct{})
	go db.engine.NewTestQuery(func(context.Context) error { close(held); <-hold; return nil }).Exec(t.Context())
	defer close(hold)
	<-held
	_, err = db.Query(t.Context(), `up`, now)
	if _, ok := errors.AsType[promql.ErrQueryTimeout](err); !ok {
		t.Errorf("a second query beside one of one: %v", err)
	}
}
