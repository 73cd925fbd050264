package automation

import (
	"errors"
	"testing"

	"nocturne/internal/state"
)

// A start beside a submission must not take the mark of the job that is just
// being stored: the next start would not find it.
func TestMarkOfAJobBeingStored(t *testing.T) {
	db, err := state.Open(state.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	x := &Executor{}
	if x.rec, err = newRecords(db); err != nil {
		t.Fatal(err)
	}
	mark := func(id string) {
		t.Helper()
		if err := x.rec.open.PutMany([]state.Record[openJob]{{ID: id}}); err != nil {
			t.Fatal(err)
		}
	}
	x.marking.RLock() // as a submission holds it between the two
	mark("a")
	done := make(chan error)
	go func() { done <- x.clearMark("a") }()
	if _, err := x.rec.jobs.Put("a", jobRecord{Phase: JobQueued}, 0); err != nil {
		t.Fatal(err)
	}
	x.marking.RUnlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.rec.open.Get("a"); err != nil {
		t.Errorf("the mark is gone: %v", err)
	}
	mark("b") // and no job behind it
	if err := x.recover("b"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.rec.open.Get("b"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("a mark without a job: %v", err)
	}
}
