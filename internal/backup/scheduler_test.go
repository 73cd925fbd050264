package backup_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nocturne/internal/backup"
	"nocturne/internal/backup/disk"
	"nocturne/internal/need"
)

func (e *estate) actions(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	for x, err := range e.ledger.Subject("backup") {
		check(t, err)
		all[x.Action]++
	}
	return all
}

// running runs a scheduler until stop is called.
func running(t *testing.T, o backup.SchedulerOptions) (s *backup.Scheduler, stop func()) {
	t.Helper()
	s, err := backup.NewScheduler(o)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return s, stop
}

func openDisk(_ context.Context, at backup.Place) (backup.Store, error) { return disk.Make(at.To) }

// TestScheduleMakesAndPrunes runs a schedule until old generations go, and goes
// on with it after a restart.
func TestScheduleMakesAndPrunes(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	to := filepath.Join(t.TempDir(), "to")
	check(t, e.records(0, 30))
	check(t, e.samples(0, 4000))
	o := backup.SchedulerOptions{Source: e.source(), Open: openDisk, Place: backup.Place{To: to}, Every: 800 * time.Millisecond, StateEvery: 100 * time.Millisecond, Keep: 2}
	s, stop := running(t, o)
	need.Until(t, "four whole generations are made", func() bool { return e.actions(t)["backup.made"] >= 4 })
	need.Until(t, "a point is made", func() bool { return !s.Status().LastPoint.IsZero() })
	stop()
	st := s.Status()
	if st.LastError != "" || st.Running != "" || st.Last == nil || !st.Late.After(time.Now().Add(-time.Minute)) {
		t.Errorf("%+v", st)
	}
	store := toDisk(t, to)
	all, err := backup.List(t.Context(), store)
	check(t, err)
	kinds := map[string]int{}
	for _, g := range all {
		kinds[g.Kind]++
	}
	if kinds[backup.Whole] < 2 || kinds[backup.Whole] > 3 || kinds[backup.Point] == 0 { // one may be made and not pruned after
		t.Errorf("left: %v", kinds)
	}
	d, err := backup.Drill(t.Context(), store, backup.DrillOptions{In: t.TempDir()})
	if err != nil || len(d.Differences) > 0 {
		t.Errorf("%+v, %v", d, err)
	}
	check(t, store.Close())

	o.Every = time.Hour // the last one is not due for long, so points come alone
	made := e.actions(t)["backup.made"]
	s, stop = running(t, o)
	if got := s.Status().LastWhole; !got.Equal(st.LastWhole) {
		t.Errorf("the last was of %s, after a restart of %s", st.LastWhole, got)
	}
	need.Until(t, "a point is made", func() bool { return !s.Status().LastPoint.IsZero() })
	stop()
	if n := e.actions(t)["backup.made"]; n != made {
		t.Errorf("%d whole generations were made at the restart", n-made)
	}
	store = toDisk(t, to)
	got := restore(t, store, time.Time{}).everything(t)
	if len(got.Items) != len(e.everything(t).Items) {
		t.Errorf("%d items restored from a point of after the restart", len(got.Items))
	}
}

// TestFailuresAreTold: a store that cannot be reached is in the status and the
// ledger, and the late one has its time.
func TestFailuresAreTold(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	var good atomic.Bool
	to := filepath.Join(t.TempDir(), "to")
	s, stop := running(t, backup.SchedulerOptions{Source: e.source(), Place: backup.Place{To: to}, Every: time.Hour, StateEvery: time.Hour, Keep: 1,
		Open: func(ctx context.Context, at backup.Place) (backup.Store, error) {
			if !good.Load() {
				return nil, errors.New("nobody there")
			}
			return openDisk(ctx, at)
		}})
	need.Until(t, "the failure is told", func() bool { return e.actions(t)["backup.failed"] == 1 && s.Status().Running == "" })
	st := s.Status()
	if st.LastError != "nobody there" || !st.LastWhole.IsZero() || time.Until(st.Late) > 31*time.Minute {
		t.Errorf("%+v", st)
	}
	good.Store(true)
	id, err := s.Start(backup.Request{By: "person:ann"})
	check(t, err)
	need.Until(t, "the one that was asked for is made", func() bool { a := s.Status().Asked; return a.ID == id && a.Done })
	need.Until(t, "it is idle", func() bool { return s.Status().Running == "" })
	st = s.Status()
	if st.Asked.Error != "" || st.Asked.Report == nil || st.LastError != "" || time.Until(st.Late) < 80*time.Minute {
		t.Errorf("%+v, asked %+v", st, st.Asked)
	}
	if _, err := s.Start(backup.Request{Place: backup.Place{To: filepath.Join(t.TempDir(), "elsewhere")}}); err != nil {
		t.Error(err)
	}
	if _, err := s.Start(backup.Request{}); err != nil && !errors.Is(err, backup.ErrBusy) {
		t.Error(err)
	}
	need.Until(t, "it is idle", func() bool { a := s.Status().Asked; return a.Done && s.Status().Running == "" })
	stop()
	who := ""
	for x, err := range e.ledger.Subject("backup") {
		check(t, err)
		if x.Action == "backup.made" && who == "" {
			who = x.Actor
		}
	}
	if who != "person:ann" {
		t.Errorf("the ledger says that %q asked", who)
	}
	nowhere, err := backup.NewScheduler(backup.SchedulerOptions{Source: e.source(), Open: openDisk})
	check(t, err)
	if _, err := nowhere.Start(backup.Request{}); !errors.Is(err, backup.ErrNowhere) {
		t.Errorf("nowhere: %v", err)
	}
	_, err = backup.NewScheduler(backup.SchedulerOptions{Source: e.source(), Open: openDisk, Place: backup.Place{To: to}})
	if err == nil || !strings.Contains(err.Error(), "interval") {
		t.Errorf("no interval: %v", err)
	}
}

// TestEmptiedStore: points do not go on from what somebody removed.
func TestEmptiedStore(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	check(t, e.records(0, 9))
	first := toDisk(t, filepath.Join(t.TempDir(), "to"))
	w := whole(t, e, first)
	other := toDisk(t, filepath.Join(t.TempDir(), "other"))
	if _, err := backup.MakePoint(t.Context(), e.source(), other, w.Mark(), backup.Options{}); !errors.Is(err, backup.ErrNoWhole) {
		t.Errorf("a point on nothing: %v", err)
	}
	whole(t, e, other)
	check(t, e.records(9, 18))
	p := point(t, e, other, w.Mark())
	if got := restore(t, other, p.Time).everything(t); len(got.Items) != len(e.everything(t).Items) {
		t.Errorf("%d items", len(got.Items))
	}
}
