package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type rack struct {
	Name  string
	Units int
}

func open(t testing.TB, dir string) *DB {
	t.Helper()
	db, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestPutIsCompareAndSwap(t *testing.T) {
	racks := NewTable[rack](open(t, t.TempDir()), "rack", 1)
	if _, _, err := racks.Get("r01"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "rack r01") {
		t.Fatalf("get of nothing: %v", err)
	}
	rev := must[Rev](t)(racks.Put("r01", rack{"r01", 42}, 0))
	if _, err := racks.Put("r01", rack{"again", 1}, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("create of what exists: %v", err)
	}
	if _, err := racks.Put("r02", rack{"r02", 1}, rev); !errors.Is(err, ErrConflict) {
		t.Errorf("change of what does not exist: %v", err)
	}
	rev2 := must[Rev](t)(racks.Put("r01", rack{"r01", 47}, rev))
	if _, err := racks.Put("r01", rack{"late", 1}, rev); !errors.Is(err, ErrConflict) {
		t.Errorf("write on an old revision: %v", err)
	}
	if err := racks.Delete("r01", rev); !errors.Is(err, ErrConflict) {
		t.Errorf("delete on an old revision: %v", err)
	}
	got, rev3, err := racks.Get("r01")
	if err != nil || rev3 != rev2 || got != (rack{"r01", 47}) {
		t.Errorf("got %v at %d, %v; want revision %d", got, rev3, err, rev2)
	}
	if err := racks.Delete("r01", rev2); err != nil {
		t.Fatal(err)
	}
	if err := racks.Delete("r01", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete of nothing: %v", err)
	}
	if again := must[Rev](t)(racks.Put("r01", rack{}, 0)); again <= rev2 {
		t.Errorf("recreated at revision %d, not above %d: an old holder could overwrite it", again, rev2)
	}
}

func TestRevisionsGoOnAfterReopen(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	racks := NewTable[rack](db, "rack", 1)
	rev := must[Rev](t)(racks.Put("a", rack{}, 0))
	rev = max(rev, must[Rev](t)(racks.Put("b", rack{}, 0)))
	if err := racks.Delete("b", 0); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	racks = NewTable[rack](open(t, dir), "rack", 1)
	if next := must[Rev](t)(racks.Put("b", rack{}, 0)); next <= rev {
		t.Errorf("revision %d after reopening, was at %d before", next, rev)
	}
}

func TestUpdateUnderConcurrency(t *testing.T) {
	racks := NewTable[rack](open(t, t.TempDir()), "rack", 1)
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if _, _, err := racks.Update("shared", func(r *rack, exists bool) error {
					if exists != (r.Units > 0) {
						t.Errorf("exists=%v with %d units", exists, r.Units)
					}
					r.Units++
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, _, err := racks.Get("shared"); err != nil || got.Units != writers*each {
		t.Errorf("%d units after %d increments, %v", got.Units, writers*each, err)
	}
}

// Of all who create the same record exactly one wins, in one batch or not.
func TestCreateRace(t *testing.T) {
	racks := NewTable[rack](open(t, t.TempDir()), "rack", 1)
	for round := range 20 {
		id := fmt.Sprint("r", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range 16 {
			wg.Go(func() {
				_, err := racks.Put(id, rack{Units: i}, 0)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d of 16 created %s", won, id)
		}
	}
}

func TestUpdateSkipAndError(t *testing.T) {
	racks := NewTable[rack](open(t, t.TempDir()), "rack", 1)
	if _, rev, err := racks.Update("x", func(*rack, bool) error { return Skip }); rev != 0 || err != nil {
		t.Errorf("skipped creation: revision %d, %v", rev, err)
	}
	rev := must[Rev](t)(racks.Put("x", rack{Units: 1}, 0))
	if v, got, err := racks.Update("x", func(*rack, bool) error { return Skip }); got != rev || err != nil || v.Units != 1 {
		t.Errorf("skip: %v at %d, %v", v, got, err)
	}
	boom := errors.New("boom")
	if _, _, err := racks.Update("x", func(r *rack, _ bool) error { r.Units = 9; return boom }); err != boom {
		t.Errorf("error of the function: %v", err)
	}
	if v, _, _ := racks.Get("x"); v.Units != 1 {
		t.Errorf("written in spite of the error: %v", v)
	}
}

func TestAllIsOrderedAndByPrefix(t *testing.T) {
	db := open(t, t.TempDir())
	racks := NewTable[rack](db, "rack", 1)
	others := NewTable[rack](db, "rackrow", 1)
	if err := others.PutMany([]Record[rack]{{ID: "a/0"}}); err != nil {
		t.Fatal(err)
	}
	var recs []Record[rack]
	for _, id := range []string{"b/2", "a/10", "a/1", "c", "a/2", "a\x00z"} {
		recs = append(recs, Record[rack]{ID: id, Value: rack{Name: id}})
	}
	if err := racks.PutMany(recs); err != nil {
		t.Fatal(err)
	}
	f := func(prefix string, want ...string) {
		t.Helper()
		var got []string
		for r, err := range racks.All(prefix) {
			if err != nil || r.Value.Name != r.ID || r.Rev == 0 {
				t.Errorf("%+v, %v", r, err)
			}
			got = append(got, r.ID)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("All(%q): %s", prefix, d)
		}
	}
	f("", "a\x00z", "a/1", "a/10", "a/2", "b/2", "c")
	f("a/", "a/1", "a/10", "a/2")
	f("z")
	for range racks.All("") {
		break
	}
}

func TestPutManyReportsConflictsAndWritesTheRest(t *testing.T) {
	racks := NewTable[rack](open(t, t.TempDir()), "rack", 1)
	old := must[Rev](t)(racks.Put("a", rack{Units: 1}, 0))
	must[Rev](t)(racks.Put("a", rack{Units: 2}, old))
	recs := []Record[rack]{{ID: "a", Rev: old, Value: rack{Units: 3}}}
	for i := range 5000 {
		recs = append(recs, Record[rack]{ID: fmt.Sprintf("n%04d", i), Value: rack{Name: strings.Repeat("x", 1000), Units: i}})
	}
	if err := racks.PutMany(recs); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "rack a") {
		t.Errorf("conflict not reported: %v", err)
	}
	n := 0
	for r, err := range racks.All("n") {
		if err != nil || r.Value.Units != n {
			t.Fatalf("record %d: %+v, %v", n, r, err)
		}
		n++
	}
	if n != 5000 {
		t.Errorf("%d of 5000 written", n)
	}
	if v, _, _ := racks.Get("a"); v.Units != 2 {
		t.Errorf("overwritten on an old revision: %v", v)
	}
}

// A value of several megabytes goes to the value log, alone in its batch.
func TestLargeValues(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	big := NewTable[string](db, "report", 1)
	recs := []Record[string]{}
	for i := range 6 {
		recs = append(recs, Record[string]{ID: fmt.Sprint(i), Value: strings.Repeat(fmt.Sprint(i), 1<<(16+i))})
	}
	if err := big.PutMany(recs); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	big = NewTable[string](open(t, dir), "report", 1)
	for _, r := range recs {
		if v, _, err := big.Get(r.ID); err != nil || v != r.Value {
			t.Errorf("report %s: %d bytes, %v", r.ID, len(v), err)
		}
	}
}

type rackV3 struct {
	Name   string
	Height int    // Units until version 1
	Face   string // since version 3
}

func rename(raw []byte) ([]byte, error) {
	var old rack
	if err := json.Unmarshal(raw, &old); err != nil {
		return nil, err
	}
	return json.Marshal(rackV3{Name: old.Name, Height: old.Units})
}

func addFace(raw []byte) ([]byte, error) {
	var r rackV3
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	if r.Name == "bent" {
		return nil, errors.New("no face")
	}
	r.Face = "front"
	return json.Marshal(r)
}

func TestMigration(t *testing.T) {
	db := open(t, t.TempDir())
	v1 := NewTable[rack](db, "rack", 1)
	rev := must[Rev](t)(v1.Put("r01", rack{"r01", 42}, 0))
	must[Rev](t)(v1.Put("bent", rack{"bent", 1}, 0))
	v3 := NewTable[rackV3](db, "rack", 3, rename, addFace)
	got, gotRev, err := v3.Get("r01")
	if err != nil || gotRev != rev || got != (rackV3{"r01", 42, "front"}) {
		t.Fatalf("migrated to %+v at %d, %v", got, gotRev, err)
	}
	if _, _, err := v3.Get("bent"); err == nil || err.Error() != "rack bent: migrate from schema version 2: no face" {
		t.Errorf("failing migration: %v", err)
	}
	if _, _, err := v3.Update("r01", func(r *rackV3, _ bool) error { r.Height = 47; return nil }); err != nil {
		t.Fatal(err)
	}
	var newer []string
	for r, err := range v1.All("") {
		if errors.Is(err, ErrNewerSchema) {
			newer = append(newer, r.ID+": "+err.Error())
		}
	}
	want := "r01: rack r01: written by a newer version of nocturne: schema version 3, this one knows 1"
	if d := cmp.Diff([]string{want}, newer); d != "" {
		t.Error(d)
	}
	_, gotRev, err = v1.Get("r01")
	if !errors.Is(err, ErrNewerSchema) {
		t.Errorf("read of a newer record: %v", err)
	}
	if _, err := v1.Put("r01", rack{}, Rev(gotRev)); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("a newer record was overwritten: %v", err)
	}
	if err := v1.Delete("r01", 0); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("a newer record was deleted: %v", err)
	}
}

func TestSecondOpenIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := Open(Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Errorf("second open: %v", err)
	}
}

func TestCloseIsFinal(t *testing.T) {
	db := must[*DB](t)(Open(Options{InMemory: true}))
	racks := NewTable[rack](db, "rack", 1)
	log := must[*Log[int]](t)(NewLog[int](db, "events", 1))
	changes := racks.Watch(t.Context(), "")
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := log.Wait(t.Context(), 0); !errors.Is(err, ErrClosed) {
			t.Errorf("wait on a closed log: %v", err)
		}
	})
	wg.Go(func() {
		if err := db.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if _, ok := <-changes; ok {
		t.Error("watch goes on")
	}
	if _, err := racks.Put("a", rack{}, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("put: %v", err)
	}
	if _, _, err := racks.Get("a"); !errors.Is(err, ErrClosed) {
		t.Errorf("get: %v", err)
	}
	for _, err := range racks.All("") {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("all: %v", err)
		}
	}
}
