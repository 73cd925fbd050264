package archive_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
	library "github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/need"
	"nocturne/tsdb/archive"
)

// TestBackupUnderIngest backs up a history while another process appends,
// compacts and truncates at full speed. Each generation must restore to a
// history that holds every sample acknowledged before that backup began, and
// the second must not copy again what the first did.
func TestBackupUnderIngest(t *testing.T) {
	dir, to := filepath.Join(t.TempDir(), "history"), t.TempDir()
	w := startWriter(t, dir)
	const rounds = 3
	var acks []int
	var reports []archive.Report
	w.until(t, 40_000)
	for range rounds {
		acks = append(acks, w.until(t, w.until(t, 0)+20_000))
		r, err := archive.Backup(t.Context(), archive.Options{History: dir, To: to})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d acknowledged; copied %d of %d bytes, %d of %d blocks are new", acks[len(acks)-1], r.CopiedBytes, r.Bytes, r.NewBlocks, r.Blocks)
		reports = append(reports, r)
	}
	w.kill()
	for i, r := range reports {
		into := filepath.Join(t.TempDir(), "restored")
		g, err := archive.Restore(t.Context(), archive.RestoreOptions{From: to, At: r.Time, Into: into})
		if err != nil {
			t.Fatal(err)
		}
		if g.Name != r.Name {
			t.Errorf("restored %s, not %s", g.Name, r.Name)
		}
		mustHold(t, contents(t, into), acks[i])
	}
	if last := reports[rounds-1]; last.Blocks == 0 {
		t.Error("no block was written meanwhile; the test shows nothing")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "still-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// history makes a history of n samples, most of them in blocks. Nothing is
// killed for it: what a kill may lose would differ from what a picture holds.
func history(t *testing.T, n int) string {
	t.Helper()
	return historyOf(t, "s", n)
}

// historyOf is history, of another metric.
func historyOf(t *testing.T, metric string, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "history")
	o := library.DefaultOptions()
	o.NoLockfile = true
	o.RetentionDuration = (1000 * time.Hour).Milliseconds()
	o.MinBlockDuration = (20 * time.Minute).Milliseconds()
	o.MaxBlockDuration = o.MinBlockDuration
	o.OutOfOrderTimeWindow = (30 * time.Minute).Milliseconds()
	db, err := library.Open(dir, slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	app := db.Appender(t.Context())
	for i := range n {
		s := sample(i)
		if _, err := app.Append(0, labels.NewBuilder(s.Labels).Set("__name__", metric).Labels(), s.T, s.V); err != nil {
			t.Fatal(err)
		}
		if i%(100*childSeries) > 0 {
			continue
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := db.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		app = db.Appender(t.Context())
	}
	if err := errors.Join(app.Commit(), db.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func backup(t *testing.T, o archive.Options) archive.Report {
	t.Helper()
	r, err := archive.Backup(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGenerations: a rollup tier travels along, a second backup copies no
// block again, pruning removes what only the first named.
func TestGenerations(t *testing.T) {
	dir, to := history(t, 50_000), t.TempDir()
	blocks, _ := filepath.Glob(filepath.Join(dir, "01*"))
	if len(blocks) < 3 {
		t.Fatalf("%d blocks", len(blocks))
	}
	tier := filepath.Join(dir, "rollup-5m", filepath.Base(blocks[0]))
	if err := os.CopyFS(tier, os.DirFS(blocks[0])); err != nil {
		t.Fatal(err)
	}
	first := backup(t, archive.Options{History: dir, To: to})
	if first.NewBlocks != len(blocks)+1 || first.Copied != first.Files {
		t.Errorf("%d blocks and one of a tier; the first backup: %+v", len(blocks), first)
	}
	whole := contents(t, dir)

	second := backup(t, archive.Options{History: dir, To: to})
	var chunks int64
	for _, b := range blocks {
		chunks += size(t, filepath.Join(b, "index")) + size(t, filepath.Join(b, "chunks", "000001"))
	}
	if second.NewBlocks != 0 || second.CopiedBytes > second.Bytes-chunks {
		t.Errorf("the second backup copied %d bytes of %d, of which %d are in blocks: %+v", second.CopiedBytes, second.Bytes, chunks, second)
	}
	if err := os.RemoveAll(blocks[0]); err != nil { // as retention does
		t.Fatal(err)
	}
	third := backup(t, archive.Options{History: dir, To: to})

	all, err := archive.List(to)
	if err != nil {
		t.Fatal(err)
	}
	want := []archive.Generation{first.Generation, second.Generation, third.Generation}
	if diff := cmp.Diff(want, all, cmpopts.IgnoreUnexported(archive.Generation{})); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	into := filepath.Join(t.TempDir(), "a", "restored")
	if _, err := archive.Restore(t.Context(), archive.RestoreOptions{From: to, At: second.Time.Add(time.Millisecond / 2), Into: into}); err != nil {
		t.Fatal(err)
	}
	mustHold(t, contents(t, into), 50_000)
	if got := contents(t, into); !maps.EqualFunc(whole, got, slices.Equal) {
		t.Error("what was restored differs from what was backed up")
	}
	if _, err := os.Stat(filepath.Join(into, "rollup-5m", filepath.Base(blocks[0]), "index")); err != nil {
		t.Errorf("the tier: %v", err)
	}

	p, err := archive.Prune(to, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{first.Name, second.Name}, p.Generations); diff != "" || p.Files != 2 {
		t.Errorf("pruned %+v", p)
	}
	into = filepath.Join(t.TempDir(), "restored")
	if _, err := archive.Restore(t.Context(), archive.RestoreOptions{From: to, Into: into}); err != nil {
		t.Error(err)
	}
	if _, err := archive.Restore(t.Context(), archive.RestoreOptions{From: to, At: first.Time, Into: into + "2"}); err == nil || !strings.Contains(err.Error(), "no whole generation") {
		t.Errorf("a pruned generation: %v", err)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// TestCutShort kills a backup on its way: there is no generation, the next
// backup uses the blocks that were copied, and nothing is left behind.
func TestCutShort(t *testing.T) {
	dir, to := history(t, 50_000), t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childBackup+"="+dir, childTo+"="+to)
	if err := cmd.Run(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed: %v", err)
	}
	into := filepath.Join(t.TempDir(), "restored")
	if _, err := archive.Restore(t.Context(), archive.RestoreOptions{From: to, Into: into}); err == nil || !strings.Contains(err.Error(), "no whole generation") {
		t.Errorf("restore of half a backup: %v", err)
	}
	r := backup(t, archive.Options{History: dir, To: to})
	if left, _ := filepath.Glob(filepath.Join(dir, "still-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if r.NewBlocks >= r.Blocks || r.NewBlocks == 0 {
		t.Errorf("after the cut: %d of %d blocks copied", r.NewBlocks, r.Blocks)
	}
	if _, err := archive.Restore(t.Context(), archive.RestoreOptions{From: to, Into: into}); err != nil {
		t.Fatal(err)
	}
	mustHold(t, contents(t, into), 50_000)
}

// TestDamagedBackup flips one bit in each file of a backup in turn. Restore
// must name the file and leave nothing behind; a backup that rechecks makes
// shared files good again.
func TestDamagedBackup(t *testing.T) {
	_, r := need.Seed(t)
	dir, to := history(t, 60_000), t.TempDir()
	g := backup(t, archive.Options{History: dir, To: to})
	err := filepath.WalkDir(to, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "lock" {
			return err
		}
		whole, err := os.ReadFile(path)
		if err != nil || len(whole) == 0 {
			return err
		}
		bad := append([]byte(nil), whole...)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			return err
		}
		into := filepath.Join(t.TempDir(), "restored")
		_, err = archive.Restore(t.Context(), archive.RestoreOptions{From: to, Into: into})
		if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(path, ".sha256")) {
			t.Errorf("%s has a flipped bit; restore said: %v", path, err)
		}
		if left, _ := filepath.Glob(into + "*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		return os.WriteFile(path, whole, 0o666)
	})
	if err != nil {
		t.Fatal(err)
	}
	index, _ := filepath.Glob(filepath.Join(to, "blocks", "01*", "index"))
	if err := os.WriteFile(index[0], make([]byte, size(t, index[0])), 0o666); err != nil {
		t.Fatal(err)
	}
	again := backup(t, archive.Options{History: dir, To: to, Recheck: true})
	if again.NewBlocks != 1 || again.Blocks != g.Blocks {
		t.Errorf("rechecked: %+v", again)
	}
	if _, err := archive.Restore(t.Context(), archive.RestoreOptions{From: to, At: g.Time, Into: filepath.Join(t.TempDir(), "r")}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Restore(t.Context(), archive.RestoreOptions{From: to, Into: dir}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restore over a history: %v", err)
	}
}
