package backup_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/backup"
	"nocturne/internal/backup/disk"
)

const (
	childDoes = "NOCTURNE_BACKUP_CHILD" // backup or restore
	childData = "NOCTURNE_BACKUP_CHILD_DATA"
	childTo   = "NOCTURNE_BACKUP_CHILD_TO"
	childPart = "NOCTURNE_BACKUP_CHILD_PART" // in tenths of the bytes
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childDoes); what != "" {
		panic(child(what)) // it was not killed
	}
	os.Exit(m.Run())
}

// child does what it is told and kills itself on the way.
func child(what string) error {
	data, ctx := os.Getenv(childData), context.Background()
	progress := func(done, total int64) {
		if total > 0 && done*10 >= total*int64(os.Getenv(childPart)[0]-'0') {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	if what == "restore" {
		store, err := disk.Open(os.Getenv(childTo))
		if err != nil {
			return err
		}
		_, err = backup.Restore(ctx, store, backup.RestoreOptions{Into: data, Progress: progress})
		return err
	}
	e, err := openEstate(data)
	if err != nil {
		return err
	}
	store, err := disk.Make(os.Getenv(childTo))
	if err != nil {
		return err
	}
	_, err = backup.MakeWhole(ctx, e.source(), store, backup.Options{Progress: progress})
	return err
}

func killed(t *testing.T, what, data, to, part string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDoes+"="+what, childData+"="+data, childTo+"="+to, childPart+"="+part)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the %s was not killed: %v\n%s", what, err, out)
	}
}

// TestKilled kills backups and restores on their way: nothing half counts, the
// generation before restores, and the next run needs no help.
func TestKilled(t *testing.T) {
	data, to := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "to")
	e := newEstate(t, data)
	check(t, e.records(0, 60))
	check(t, e.samples(0, 40_000))
	store := toDisk(t, to)
	w := whole(t, e, store)
	was := e.everything(t)
	check(t, store.Close())
	check(t, e.samples(40_000, 120_000))
	check(t, e.records(60, 90))
	e.close(t)
	for _, part := range []string{"1", "4", "9"} {
		killed(t, "backup", data, to, part)
	}
	store = toDisk(t, to)
	all, err := backup.List(t.Context(), store)
	check(t, err)
	if len(all) != 1 || all[0].Name != w.Name {
		t.Fatalf("after the kills: %+v", all)
	}
	mustEqual(t, was, restore(t, store, time.Time{}).everything(t))

	e = newEstate(t, data)
	whole(t, e, store)
	if left, _ := filepath.Glob(filepath.Join(data, "backup-spool-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	was = e.everything(t)
	check(t, store.Close())

	into := filepath.Join(t.TempDir(), "restored")
	for _, part := range []string{"2", "9"} {
		killed(t, "restore", into, to, part)
		if _, err := os.Stat(into); err == nil {
			t.Fatal("a restore that was killed left a folder under the name")
		}
	}
	left, _ := filepath.Glob(into + ".restoring-*")
	store = toDisk(t, to)
	_, err = backup.Restore(t.Context(), store, backup.RestoreOptions{Into: into})
	check(t, err)
	mustEqual(t, was, newEstate(t, into).everything(t))
	if still, _ := filepath.Glob(into + ".restoring-*"); len(left) == 0 || len(still) > 0 {
		t.Errorf("the kills left %d folders, the restore %s", len(left), strings.Join(still, " "))
	}
}
