package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
)

// model is what a database should hold, kept beside it by the test.
type model struct {
	racks map[string]rack
	blobs map[string]string
	log   []string
}

func (m *model) copy() *model {
	return &model{maps.Clone(m.racks), maps.Clone(m.blobs), append([]string(nil), m.log...)}
}

// tables of the databases in these tests.
type tables struct {
	racks *Table[rack]
	blobs *Table[string]
	log   *Log[line]
}

func tablesOf(t *testing.T, db *DB) tables {
	t.Helper()
	return tables{NewTable[rack](db, "rack", 1), NewTable[string](db, "blob", 1), must[*Log[line]](t)(NewLog[line](db, "events", 1))}
}

// churn writes and deletes at random, in the database and in the model.
func (m *model) churn(t *testing.T, r *rand.Rand, x tables, n int) {
	t.Helper()
	for range n {
		id := fmt.Sprintf("r%03d", r.IntN(200))
		switch r.IntN(6) {
		case 0, 1:
			v := rack{id, r.IntN(1000)}
			if _, _, err := x.racks.Update(id, func(s *rack, _ bool) error { *s = v; return nil }); err != nil {
				t.Fatal(err)
			}
			m.racks[id] = v
		case 2, 3:
			err := x.racks.Delete(id, 0)
			if _, there := m.racks[id]; there != (err == nil) || err != nil && !errors.Is(err, ErrNotFound) {
				t.Fatalf("delete %s: %v", id, err)
			}
			delete(m.racks, id)
		case 4:
			if _, err := x.log.AppendIndexed(line{id}, "of:"+id); err != nil {
				t.Fatal(err)
			}
			m.log = append(m.log, id)
		case 5:
			v := strings.Repeat(id, 10+r.IntN(2)*valueThreshold/2) // some in the value log
			if r.IntN(20) > 0 {
				v = id
			}
			if _, _, err := x.blobs.Update(id, func(s *string, _ bool) error { *s = v; return nil }); err != nil {
				t.Fatal(err)
			}
			m.blobs[id] = v
		}
	}
}

// read makes a model of what a database holds.
func read(t *testing.T, db *DB) *model {
	t.Helper()
	x, m := tablesOf(t, db), &model{map[string]rack{}, map[string]string{}, nil}
	for r, err := range x.racks.All("") {
		if err != nil {
			t.Fatal(err)
		}
		m.racks[r.ID] = r.Value
	}
	for r, err := range x.blobs.All("") {
		if err != nil {
			t.Fatal(err)
		}
		m.blobs[r.ID] = r.Value
	}
	for e, err := range x.log.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		m.log = append(m.log, e.Value.Text)
	}
	return m
}

func export(t *testing.T, db *DB, since uint64) (raw []byte, x Exported, content map[string]Content) {
	t.Helper()
	s := must[*Snapshot](t)(db.Snapshot())
	defer s.Close()
	var b bytes.Buffer
	x = must[Exported](t)(s.Export(t.Context(), &b, since))
	content = must[map[string]Content](t)(s.Content(t.Context(), true))
	return b.Bytes(), x, content
}

func parts(raws ...[]byte) []Part {
	var out []Part
	for i, raw := range raws {
		out = append(out, Part{fmt.Sprint("part ", i), bytes.NewReader(raw)})
	}
	return out
}

// TestIncrementsRestoreEachPoint churns, and exports what changed again and
// again, while merges drop deletions from the files. Each chain up to a point
// must give what the model had at it: what was deleted stays deleted.
func TestIncrementsRestoreEachPoint(t *testing.T) {
	_, r := need.Seed(t)
	db := open(t, t.TempDir())
	x, m := tablesOf(t, db), &model{map[string]rack{}, map[string]string{}, nil}
	var raws [][]byte
	var points []*model
	var contents []map[string]Content
	since, deleted := uint64(0), 0
	for range 8 {
		m.churn(t, r, x, 300)
		if err := db.badger.Flatten(1); err != nil {
			t.Fatal(err)
		}
		raw, exported, content := export(t, db, since)
		if since > 0 && len(raw) > len(raws[0])*3 {
			t.Errorf("an increment of %d bytes, all are %d", len(raw), len(raws[0]))
		}
		since, deleted = exported.UpTo, deleted+exported.Deleted
		raws, points, contents = append(raws, raw), append(points, m.copy()), append(contents, content)
	}
	if deleted == 0 {
		t.Error("no deletion was exported: the test shows nothing")
	}
	for i, want := range points {
		dir := filepath.Join(t.TempDir(), "state")
		if err := Import(t.Context(), dir, parts(raws[:i+1]...)...); err != nil {
			t.Fatal(err)
		}
		db := open(t, dir)
		if d := cmp.Diff(want, read(t, db), cmp.AllowUnexported(model{})); d != "" {
			t.Errorf("point %d (-want +got):\n%.2000s", i, d)
		}
		s := must[*Snapshot](t)(db.Snapshot())
		if d := cmp.Diff(contents[i], must[map[string]Content](t)(s.Content(t.Context(), true))); d != "" {
			t.Errorf("point %d, all keys (-want +got):\n%s", i, d)
		}
		s.Close()
		// The copy goes on: revisions and numbers follow those before.
		tables := tablesOf(t, db)
		if seq := must[uint64](t)(tables.log.Append(line{"more"})); seq != uint64(len(want.log)+1) {
			t.Errorf("point %d: the next entry is %d after %d", i, seq, len(want.log))
		}
	}
}

// TestExportBesideWriters: a snapshot holds all that was acknowledged before it,
// and of each writer a state that it was in.
func TestExportBesideWriters(t *testing.T) {
	db := open(t, t.TempDir())
	x := tablesOf(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var mu sync.Mutex
	acked := map[string]int{}
	for w := range 4 {
		wg.Go(func() {
			a, b := fmt.Sprint("a", w), fmt.Sprint("b", w)
			for i := 1; ctx.Err() == nil; i++ {
				for _, id := range []string{a, b} {
					if _, _, err := x.racks.Update(id, func(v *rack, _ bool) error { v.Units = i; return nil }); err != nil {
						t.Error(err)
						return
					}
				}
				mu.Lock()
				acked[a] = i
				mu.Unlock()
			}
		})
	}
	var raws [][]byte
	since := uint64(0)
	for range 6 {
		need.Until(t, "more is written", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) == 4 && acked["a0"] > len(raws)*5 })
		mu.Lock()
		before := maps.Clone(acked)
		mu.Unlock()
		raw, exported, _ := export(t, db, since)
		since, raws = exported.UpTo, append(raws, raw)
		dir := filepath.Join(t.TempDir(), "state")
		if err := Import(t.Context(), dir, parts(raws...)...); err != nil {
			t.Fatal(err)
		}
		got := read(t, open(t, dir)).racks
		for w := range 4 {
			a, b := got[fmt.Sprint("a", w)].Units, got[fmt.Sprint("b", w)].Units
			if a < before[fmt.Sprint("a", w)] || b != a && b != a-1 {
				t.Errorf("writer %d: a is %d, b %d; %d was acknowledged before", w, a, b, before[fmt.Sprint("a", w)])
			}
		}
	}
}

// TestDamagedExport cuts an export at many places and flips bits all over it:
// importing says so, or what it gives is the same all the same.
func TestDamagedExport(t *testing.T) {
	_, r := need.Seed(t)
	db := open(t, t.TempDir())
	m := &model{map[string]rack{}, map[string]string{}, nil}
	m.churn(t, r, tablesOf(t, db), 400)
	raw, _, _ := export(t, db, 0)
	f := func(what string, bad []byte, may bool) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "state")
		err := Import(t.Context(), dir, Part{"the-file", bytes.NewReader(bad)})
		if err != nil {
			if !strings.Contains(err.Error(), "the-file") {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		if d := cmp.Diff(m, read(t, open(t, dir)), cmp.AllowUnexported(model{})); d != "" || !may {
			t.Errorf("%s was taken: %.500s", what, d)
		}
	}
	f("the whole", raw, true)
	for range 25 {
		n := r.IntN(len(raw))
		f(fmt.Sprintf("cut at %d of %d", n, len(raw)), raw[:n], false)
		at, bit := r.IntN(len(raw)), r.IntN(8)
		bad := bytes.Clone(raw)
		bad[at] ^= 1 << bit
		f(fmt.Sprintf("bit %d of byte %d flipped", bit, at), bad, true) // the frame has bits that say nothing
	}
	f("nothing", nil, false)
	f("twice", append(bytes.Clone(raw), raw...), false)
}

// TestIncrementsFollowEachOther refuses increments out of order, and exports
// since versions whose deletions are forgotten.
func TestIncrementsFollowEachOther(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	_, r := need.Seed(t)
	m := &model{map[string]rack{}, map[string]string{}, nil}
	m.churn(t, r, tablesOf(t, db), 50)
	first, x1, _ := export(t, db, 0)
	m.churn(t, r, tablesOf(t, db), 50)
	second, x2, _ := export(t, db, x1.UpTo)
	m.churn(t, r, tablesOf(t, db), 50)
	third, _, _ := export(t, db, x2.UpTo)
	for what, list := range map[string][]Part{"a gap": parts(first, third), "no beginning": parts(second), "twice": parts(first, second, second), "backwards": parts(first, third, second)} {
		if err := Import(t.Context(), filepath.Join(t.TempDir(), "s"), list...); err == nil || !strings.Contains(err.Error(), "goes on from version") {
			t.Errorf("%s: %v", what, err)
		}
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Import(t.Context(), full, parts(first)...); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("over something: %v", err)
	}
	tooOld := func(db *DB, since uint64) bool {
		s := must[*Snapshot](t)(db.Snapshot())
		defer s.Close()
		_, err := s.Export(t.Context(), &bytes.Buffer{}, since)
		return errors.Is(err, ErrTooOld)
	}
	long := strings.Repeat("k", maxIDLength)
	racks := NewTable[rack](db, "rack", 1)
	for range deletionsKept/maxIDLength + 2 {
		if _, err := racks.Put(long, rack{}, 0); err != nil {
			t.Fatal(err)
		}
		if err := racks.Delete(long, 0); err != nil {
			t.Fatal(err)
		}
	}
	if !tooOld(db, x2.UpTo) {
		t.Error("deletions beyond the bound are taken for known")
	}
	_, now, _ := export(t, db, 0)
	if err := racks.Delete("nothing", 0); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if _, x, _ := export(t, db, now.UpTo); x.Written+x.Deleted != 0 {
		t.Errorf("nothing changed: %+v", x)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if !tooOld(open(t, dir), x1.UpTo) {
		t.Error("a database opened anew knows what was deleted before")
	}
}
