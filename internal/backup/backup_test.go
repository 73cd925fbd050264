package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nocturne/internal/backup"
	"nocturne/internal/backup/disk"
	"nocturne/internal/need"
	"nocturne/tsdb/archive"
)

// TestRestoredEqualsTheOriginal compares every record, ledger entry with its
// hash, and sample of restored copies with what the original was at each whole
// generation and at each point.
func TestRestoredEqualsTheOriginal(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	store := toDisk(t, filepath.Join(t.TempDir(), "to"))
	check(t, e.records(0, 60))
	check(t, e.samples(0, 30_000))
	e.awaitBlock(t)
	type moment struct {
		report backup.Report
		was    everything
		series map[string][]string // of the whole generation
	}
	var moments []moment
	w1 := whole(t, e, store)
	was := e.everything(t)
	moments = append(moments, moment{w1, was, was.Series})
	last := w1
	for i := range 3 {
		check(t, e.records(60+i*30, 90+i*30))
		check(t, e.samples(30_000+i*1000, 31_000+i*1000))
		p := point(t, e, store, last.Mark())
		moments = append(moments, moment{p, e.everything(t), was.Series})
		last = p
	}
	w2 := whole(t, e, store)
	was = e.everything(t)
	moments = append(moments, moment{w2, was, was.Series})
	e.rest(t)
	w3, w4 := whole(t, e, store), whole(t, e, store)
	if w4.Bytes < w3.Bytes || w4.CopiedBytes >= w4.Bytes {
		t.Errorf("without a change, %d of %d bytes were copied: blocks are not shared", w4.CopiedBytes, w4.Bytes)
	}
	for _, m := range moments {
		want := m.was
		want.Series = m.series
		r := restore(t, store, m.report.Time.Add(time.Millisecond/2))
		mustEqual(t, want, r.everything(t))
		if _, err := os.ReadFile(filepath.Join(r.data, "configuration", "etc", "nocturne.yaml")); err != nil {
			t.Error(err)
		}
	}
	_, err := backup.Restore(t.Context(), store, backup.RestoreOptions{At: w1.Time.Add(-time.Second), Into: filepath.Join(t.TempDir(), "r")})
	if err == nil || !strings.Contains(err.Error(), "there is no generation of") {
		t.Errorf("before the first: %v", err)
	}
	if _, err := backup.Restore(t.Context(), store, backup.RestoreOptions{Into: e.data}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("over the original: %v", err)
	}
	d, err := backup.Drill(t.Context(), store, backup.DrillOptions{In: t.TempDir()})
	if err != nil || len(d.Differences) > 0 || d.Samples == 0 || d.Records == 0 || d.Ledger != w2.Ledger {
		t.Errorf("drill: %+v, %v", d, err)
	}
}

// TestUnderLoad makes generations while four writers write records, the ledger
// and samples. Each restored one holds what was acknowledged before it began,
// nothing that was never written, and a ledger that holds.
func TestUnderLoad(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	store := toDisk(t, filepath.Join(t.TempDir(), "to"))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var samples, records atomic.Int64
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n += 2000 {
			if err := e.samples(n, n+2000); err != nil {
				t.Error(err)
				return
			}
			samples.Store(int64(n + 2000))
		}
	})
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n += 3 {
			if err := e.records(n, n+3); err != nil {
				t.Error(err)
				return
			}
			records.Store(int64(n + 3))
		}
	})
	type made struct {
		backup.Report
		samples, records, until int64
	}
	var all []made
	var mark backup.Mark
	for i := range 5 {
		at := records.Load()
		need.Until(t, "more is written", func() bool { return records.Load() > at+20 && samples.Load() > int64(6_000*(i+1)) })
		m := made{samples: samples.Load(), records: records.Load()}
		if i%2 == 0 {
			m.Report = whole(t, e, store)
		} else {
			m.Report = point(t, e, store, mark)
		}
		mark, m.until = m.Mark(), records.Load()+3
		all = append(all, m)
	}
	cancel()
	wg.Wait()
	acked := int64(0) // of the history that a point stands on
	for _, m := range all {
		if m.Kind == backup.Whole {
			acked = m.samples
		}
		r := restore(t, store, m.Time)
		got := r.everything(t)
		if _, err := r.ledger.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if n := int64(len(got.Ledger)) - 1; n < m.records || n > m.until || got.Ledger[n-1].Hash != m.Ledger.Hash {
			t.Errorf("%s: %d entries, between %d and %d were written", m.Name, n, m.records, m.until)
		}
		for i := range m.records {
			_, there := got.Items[fmt.Sprint("item-", i)]
			if there != (i%3 != 1) {
				t.Errorf("%s: item %d there: %v", m.Name, i, there)
			}
		}
		for n := range acked {
			s := sample(int(n))
			points := got.Series[s.Labels.String()]
			if i := int(n) / series; len(points) <= i || points[i] != fmt.Sprint(s.T, " ", s.V) {
				t.Fatalf("%s: sample %d of %d is not there", m.Name, n, acked)
			}
		}
		r.close(t)
	}
	if _, err := os.Stat(filepath.Join(e.data, "history")); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(e.data, "backup-spool-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestEachFileFlipped flips a bit in each file of a backup in turn: restoring
// names the file and leaves nothing, and a recheck makes shared files good.
func TestEachFileFlipped(t *testing.T) {
	_, r := need.Seed(t)
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	to := filepath.Join(t.TempDir(), "to")
	store := toDisk(t, to)
	check(t, e.records(0, 30))
	check(t, e.samples(0, 40_000))
	e.awaitBlock(t)
	e.rest(t)
	w := whole(t, e, store)
	check(t, e.records(30, 40))
	point(t, e, store, w.Mark())
	files := filesUnder(t, to)
	if len(files) < 12 {
		t.Fatalf("only %q", files)
	}
	for _, path := range files {
		good, err := os.ReadFile(path)
		check(t, err)
		if len(good) == 0 {
			continue
		}
		for _, bad := range [][]byte{flip(good, r.IntN(len(good)), r.IntN(8)), good[:len(good)/2], nil} {
			if bad == nil {
				check(t, os.Remove(path))
			} else {
				check(t, os.WriteFile(path, bad, 0o600))
			}
			into := filepath.Join(t.TempDir(), "restored")
			_, err = backup.Restore(t.Context(), store, backup.RestoreOptions{Into: into})
			rel, rerr := filepath.Rel(to, path)
			check(t, rerr)
			name := strings.TrimSuffix(filepath.ToSlash(rel), ".sha256")
			removedPoint := bad == nil && strings.HasSuffix(rel, ".point.json") // then it is none, and the whole one counts
			if removedPoint != (err == nil) || err != nil && !strings.Contains(err.Error(), name) && !strings.Contains(err.Error(), strings.TrimSuffix(filepath.Base(name), ".json")) {
				t.Errorf("%s with %d of %d bytes: %v", rel, len(bad), len(good), err)
			}
			if left, _ := filepath.Glob(into + "*"); len(left) > 0 && err != nil {
				t.Errorf("left behind: %v", left)
			}
		}
		check(t, os.WriteFile(path, good, 0o600))
	}
	index := slices.IndexFunc(files, func(p string) bool { return strings.HasSuffix(p, "/index") })
	good, err := os.ReadFile(files[index])
	check(t, err)
	check(t, os.WriteFile(files[index], flip(good, len(good)/2, 3), 0o600))
	_, err = backup.MakeWhole(t.Context(), e.source(), store, backup.Options{Recheck: true})
	check(t, err)
	if again, err := os.ReadFile(files[index]); err != nil || !bytes.Equal(again, good) {
		t.Errorf("after a recheck: %v", err)
	}
	restore(t, store, w.Time)
}

// flipInPlace leaves the file's length alone: the store has it mapped.
func flipInPlace(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	st, err := f.Stat()
	check(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, st.Size()/2)
	check(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 2}, st.Size()/2)
	check(t, err)
}

func flip(b []byte, at, bit int) []byte {
	bad := bytes.Clone(b)
	bad[at] ^= 1 << bit
	return bad
}

// TestDrillFindsDifferences: what the files' checksums cannot see, because the
// manifest was written over what was wrong already.
func TestDrillFindsDifferences(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	to := filepath.Join(t.TempDir(), "to")
	store := toDisk(t, to)
	check(t, e.records(0, 30))
	check(t, e.samples(0, 60_000))
	e.awaitBlock(t)
	e.rest(t)
	chunks, err := filepath.Glob(filepath.Join(e.data, "history", "01*", "chunks", "000001"))
	check(t, err)
	flipInPlace(t, chunks[0])
	whole(t, e, store)
	d, err := backup.Drill(t.Context(), store, backup.DrillOptions{In: t.TempDir()})
	check(t, err)
	if len(d.Differences) == 0 || !strings.Contains(strings.Join(d.Differences, " "), filepath.Base(filepath.Dir(filepath.Dir(chunks[0])))) {
		t.Errorf("a block that was damaged at the source: %q", d.Differences)
	}
}

// TestPruneKeepsWhatIsNamed removes old generations and what only they named.
func TestPruneKeepsWhatIsNamed(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	to := filepath.Join(t.TempDir(), "to")
	store := toDisk(t, to)
	var made []backup.Report
	for i := range 3 {
		check(t, e.records(i*9, i*9+9))
		check(t, e.samples(i*40_000, i*40_000+40_000))
		w := whole(t, e, store)
		check(t, e.records(1000+i*9, 1000+i*9+9))
		made = append(made, w, point(t, e, store, w.Mark()))
	}
	check(t, os.MkdirAll(filepath.Join(to, "parts", "20200101T000000.000Z.whole", "history"), 0o700))
	check(t, os.WriteFile(filepath.Join(to, "parts", "20200101T000000.000Z.whole", "history", "x"), []byte("cut short"), 0o600))
	check(t, os.WriteFile(filepath.Join(to, "blocks", "half.part"), []byte("cut short"), 0o600))
	p, err := backup.Prune(t.Context(), store, 2)
	check(t, err)
	if want := []string{made[0].Name, made[1].Name}; !slices.Equal(p.Generations, want) || p.Files < 4 {
		t.Errorf("pruned %+v, want %q", p, want)
	}
	all, err := backup.List(t.Context(), store)
	check(t, err)
	if len(all) != 4 || all[0].Name != made[2].Name {
		t.Errorf("left: %+v", all)
	}
	named := strings.Join(filesUnder(t, to), "\n")
	for _, gone := range []string{made[0].Name, "20200101", ".part"} {
		if strings.Contains(named, gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	for _, m := range made[2:] {
		restore(t, store, m.Time).close(t)
	}
	if _, err := backup.Prune(t.Context(), store, 0); err == nil {
		t.Error("pruned all")
	}
	manifest := filepath.Join(to, "generations", made[4].Name+".json")
	raw, err := os.ReadFile(manifest)
	check(t, err)
	check(t, os.WriteFile(manifest, flip(raw, len(raw)/2, 0), 0o600))
	if _, err := backup.Prune(t.Context(), store, 1); err == nil || !strings.Contains(err.Error(), made[4].Name) {
		t.Errorf("with a damaged manifest: %v", err)
	}
}

// TestLeftoversAreUsed: blocks that a backup left which was cut short are not
// stored again where they are good, and are where they are not.
func TestLeftoversAreUsed(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	to := filepath.Join(t.TempDir(), "to")
	check(t, e.samples(0, 60_000))
	e.awaitBlock(t)
	e.rest(t)
	all, err := filepath.Glob(filepath.Join(e.data, "history", "01*"))
	check(t, err)
	size := int64(0)
	for i, name := range []string{"index", filepath.Join("chunks", "000001")} {
		raw, err := os.ReadFile(filepath.Join(all[0], name))
		check(t, err)
		left := filepath.Join(to, "blocks", filepath.Base(all[0]), name)
		check(t, os.MkdirAll(filepath.Dir(left), 0o700))
		if i == 0 {
			size = int64(len(raw))
		} else {
			raw = flip(raw, len(raw)/2, 1)
		}
		check(t, os.WriteFile(left, raw, 0o600))
	}
	store := toDisk(t, to)
	if w := whole(t, e, store); w.Bytes-w.CopiedBytes != size {
		t.Errorf("%d bytes were not copied, the good one that was left has %d", w.Bytes-w.CopiedBytes, size)
	}
	restore(t, store, time.Time{})
}

// TestNoKeyUnlessAsked looks through every file of a backup for the key.
func TestNoKeyUnlessAsked(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	check(t, os.WriteFile(filepath.Join(e.data, "master.key"), []byte("PLANTED-KEY\n"), 0o600))
	f := func(withKey bool) {
		to := filepath.Join(t.TempDir(), "to")
		store := toDisk(t, to)
		_, err := backup.MakeWhole(t.Context(), e.source(), store, backup.Options{WithKey: withKey})
		check(t, err)
		found := false
		for _, p := range filesUnder(t, to) {
			raw, err := os.ReadFile(p)
			check(t, err)
			found = found || bytes.Contains(raw, []byte("PLANTED-KEY"))
		}
		r := restore(t, store, time.Time{})
		_, err = os.Stat(filepath.Join(r.data, "master.key"))
		if found != withKey || (err == nil) != withKey {
			t.Errorf("with key %v: found in the backup %v, restored: %v", withKey, found, err)
		}
	}
	f(false)
	f(true)
}

// TestFullStore fills the store's disk: the error says so, nothing half counts,
// and the generation before still restores.
func TestFullStore(t *testing.T) {
	to := t.TempDir()
	if err := unix.Mount("tmpfs", to, "tmpfs", 0, "size=12m"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a tmpfs: %v", err)
		}
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { check(t, unix.Unmount(to, unix.MNT_DETACH)) })
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	store := toDisk(t, to)
	check(t, e.records(0, 30))
	check(t, e.samples(0, 20_000))
	w := whole(t, e, store)
	was := e.everything(t)
	filler := filepath.Join(to, "filler")
	if err := os.WriteFile(filler, make([]byte, 64<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	st, err := os.Stat(filler)
	check(t, err)
	check(t, os.Truncate(filler, st.Size()-64<<10))
	check(t, e.samples(20_000, 120_000))
	_, err = backup.MakeWhole(t.Context(), e.source(), store, backup.Options{})
	if err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), to) {
		t.Errorf("on a full disk: %v", err)
	}
	all, err := backup.List(t.Context(), store)
	check(t, err)
	if len(all) != 1 || all[0].Name != w.Name {
		t.Errorf("generations: %+v", all)
	}
	mustEqual(t, was, restore(t, store, time.Time{}).everything(t))
	check(t, os.Remove(filler))
	whole(t, e, store)
}

// TestOneAtATime: a folder being written to is not read, nor written to by two.
func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	s := toDisk(t, dir)
	for _, open := range []func(string) (*disk.Store, error){disk.Make, disk.Open} {
		if _, err := open(dir); err == nil || !strings.Contains(err.Error(), "works on it") {
			t.Errorf("beside a writer: %v", err)
		}
	}
	check(t, s.Close())
	if _, err := disk.Open(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a folder that is not there was opened to read")
	}
	r1, err := disk.Open(dir)
	check(t, err)
	r2, err := disk.Open(dir)
	check(t, err)
	check(t, r1.Close())
	check(t, r2.Close())
}

// TestToldCountsAreCounted keeps the drill's two counts of one history equal.
func TestToldCountsAreCounted(t *testing.T) {
	e := newEstate(t, filepath.Join(t.TempDir(), "data"))
	check(t, e.samples(0, 80_000))
	e.awaitBlock(t)
	e.close(t)
	dir := filepath.Join(e.data, "history")
	told, err := archive.Told(dir)
	check(t, err)
	counted, err := archive.Counted(t.Context(), dir)
	check(t, err)
	if len(told) == 0 || !slices.Equal(told, counted) {
		t.Errorf("told %+v, counted %+v", told, counted)
	}
}
