package badgerq

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/automation"
	"nocturne/internal/state"
)

var _ automation.Queue = (*Queue)(nil)

func open(t *testing.T, dir string) (*Queue, func()) {
	t.Helper()
	db, err := state.Open(state.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	q, err := New(db)
	if err != nil {
		t.Fatal(err)
	}
	return q, func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func claim(t *testing.T, q *Queue, region string, limit int) (jobs, receipts []string) {
	t.Helper()
	got, err := q.Claim(t.Context(), region, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range got {
		jobs, receipts = append(jobs, d.Job), append(receipts, d.Receipt)
	}
	return jobs, receipts
}

func TestClaimAckRestart(t *testing.T) {
	dir := t.TempDir()
	q, done := open(t, dir)
	for n := range 12 {
		r := []string{"a", "b"}[n%2]
		if err := q.Enqueue(t.Context(), automation.Entry{Job: fmt.Sprint(n), Host: "h", Region: r}); err != nil {
			t.Fatal(err)
		}
	}
	jobs, receipts := claim(t, q, "a", 4)
	if d := cmp.Diff([]string{"0", "2", "4", "6"}, jobs); d != "" {
		t.Error(d)
	}
	for range 2 { // the second is of what is gone
		if err := q.Ack(t.Context(), receipts[:2]...); err != nil {
			t.Fatal(err)
		}
	}
	done()

	q, done = open(t, dir)
	defer done()
	jobs, _ = claim(t, q, "a", 99) // claimed and not acknowledged comes again
	if d := cmp.Diff([]string{"4", "6", "8", "10"}, jobs); d != "" {
		t.Error(d)
	}
	if jobs, _ := claim(t, q, "a", 99); len(jobs) != 0 {
		t.Errorf("delivered twice in one life: %v", jobs)
	}
	if err := q.Enqueue(t.Context(), automation.Entry{Job: "12", Host: "h", Region: "b"}); err != nil {
		t.Fatal(err)
	}
	jobs, _ = claim(t, q, "b", 99)
	if d := cmp.Diff([]string{"1", "3", "5", "7", "9", "11", "12"}, jobs); d != "" {
		t.Error(d)
	}
}
