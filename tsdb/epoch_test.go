package tsdb

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// TestReopenedStoreKnowsItsSources opens the store anew while it runs, as
// after a full disk: references from before are good no more, and series count
// to their sources again once these append.
func TestReopenedStoreKnowsItsSources(t *testing.T) {
	db := open(t, t.TempDir())
	src, now := db.Source("a"), time.Now().UnixMilli()
	name := func(i int) labels.Labels { return labels.FromStrings("__name__", "up", "n", fmt.Sprint(i)) }
	var refs []uint64
	begin := func() *Batch {
		b, err := src.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	commit := func(b *Batch, want int) {
		t.Helper()
		if r, err := b.Commit(); err != nil || r.Appended != want {
			t.Fatalf("%+v, %v; want %d appended", r, err, want)
		}
	}
	for at := range 2 {
		b := begin()
		for i := range 3 {
			refs = append(refs, b.Append(name(i), now+int64(at), 1))
		}
		commit(b, 3)
	}
	refs = refs[3:]
	db.inner.faults.err = errLogWrite
	if _, err := src.Begin(t.Context()); err == nil {
		t.Fatal("a store whose log is short takes samples")
	}
	db.reopen()
	b := begin()
	for i, ref := range refs {
		if ref == 0 || b.AppendRef(ref, now+10, 2) {
			t.Errorf("reference %d of before is taken", ref)
		}
		refs[i] = b.Append(name(i), now+10, 2)
	}
	b.Append(name(3), now+10, 2)
	commit(b, 4)
	if got := src.Stats().Series; got != 4 {
		t.Errorf("%d series belong to the source, want 4", got)
	}
	b = begin()
	for _, ref := range refs {
		if !b.AppendRef(ref, now+20, 3) {
			t.Errorf("reference %d is not taken", ref)
		}
	}
	commit(b, 3)
	if v := value(t, db, `sum(count_over_time(up[1h]))`, time.UnixMilli(now+1000)); v != 3*2+4+3 {
		t.Errorf("%g samples, want 13", v)
	}
}
