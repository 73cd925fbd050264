package upgrade_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
	"nocturne/internal/state"
	"nocturne/internal/upgrade"
)

var quiet = slog.New(slog.DiscardHandler)

// old is a record of these tests as format 1 has it, young as this one does.
type (
	old   struct{ Name string }
	young struct{ Names []string }
)

func toList(raw []byte) ([]byte, error) {
	name, ok := bytes.CutPrefix(raw, []byte(`{"Name":`))
	if !ok {
		return nil, fmt.Errorf("%s has no name", raw)
	}
	return append(append([]byte(`{"Names":[`), name[:len(name)-1]...), "]}"...), nil
}

const records, entries = 6000, 500

// makeOld fills a folder as a program of format 1 did.
func makeOld(t *testing.T, dir string) {
	t.Helper()
	db, err := state.Open(state.Options{Dir: filepath.Join(dir, "state"), Log: quiet})
	check(t, err)
	var recs []state.Record[old]
	for n := range records {
		recs = append(recs, state.Record[old]{ID: fmt.Sprintf("%06d", n), Value: old{strings.Repeat(fmt.Sprint(n), 40)}})
	}
	check(t, state.NewTable[old](db, "thing", 1).PutMany(recs))
	log, err := state.NewLog[old](db, "happened", 1)
	check(t, err)
	for n := range entries {
		_, err := log.Append(old{fmt.Sprint(n)})
		check(t, err)
	}
	check(t, db.Close())
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start upgrades as the program does.
func start(dir string) (*state.DB, error) {
	u, err := upgrade.Begin(dir, "v2", quiet)
	if err != nil {
		return nil, err
	}
	db, err := state.Open(state.Options{Dir: filepath.Join(dir, "state"), Log: quiet})
	if err != nil {
		return nil, err
	}
	if err := u.Keep(context.Background(), db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	state.NewTable[young](db, "thing", 2, toList)
	if _, err := state.NewLog[young](db, "happened", 2, toList); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := u.Finish(context.Background(), db, func(upgrade.Done) error { return nil }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

const (
	childDoes = "NOCTURNE_UPGRADE_CHILD" // upgrade or undo
	childIn   = "NOCTURNE_UPGRADE_CHILD_DIR"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(childIn)
	var err error
	switch os.Getenv(childDoes) {
	case "upgrade":
		var db *state.DB
		if db, err = start(dir); err == nil {
			err = db.Close()
		}
	case "undo":
		_, err = upgrade.Undo(context.Background(), dir)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child runs a child that is killed after a while, or not for 0. It returns how
// long it lived.
func child(t *testing.T, does, dir string, killed time.Duration) time.Duration {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDoes+"="+does, childIn+"="+dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	began := time.Now()
	check(t, cmd.Start())
	if killed > 0 {
		kill := time.AfterFunc(killed, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
	}
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%s: %v\n%s", does, err, said.String())
	}
	return time.Since(began)
}

// content is all that state holds, by digests.
func content(t *testing.T, dir string) map[string]state.Content {
	t.Helper()
	db, err := state.Open(state.Options{Dir: dir, Log: quiet})
	check(t, err)
	defer func() { check(t, db.Close()) }()
	snap, err := db.Snapshot()
	check(t, err)
	defer snap.Close()
	c, err := snap.Content(t.Context(), true)
	check(t, err)
	return c
}

// isYoung fails where a record or entry is missing, doubled, or still old.
func isYoung(t *testing.T, dir string) {
	t.Helper()
	db, err := start(dir)
	check(t, err)
	defer func() { check(t, db.Close()) }()
	if done, err := db.Raise(t.Context()); err != nil || done.Records != 0 || len(done.Faults) != 0 {
		t.Fatalf("still to be brought up: %+v, %v", done, err)
	}
	n := 0
	for r, err := range state.NewTable[young](db, "thing", 2, toList).All("") {
		if want := strings.Repeat(fmt.Sprint(n), 40); err != nil || len(r.Value.Names) != 1 || r.Value.Names[0] != want || r.ID != fmt.Sprintf("%06d", n) {
			t.Fatalf("record %d: %+v, %v", n, r, err)
		}
		n++
	}
	log, err := state.NewLog[young](db, "happened", 2, toList)
	check(t, err)
	for e, err := range log.Read(1) {
		if err != nil || len(e.Value.Names) != 1 || e.Value.Names[0] != fmt.Sprint(e.Seq-1) {
			t.Fatalf("entry %+v, %v", e, err)
		}
	}
	if n != records || log.Last() != entries {
		t.Fatalf("%d records and %d entries", n, log.Last())
	}
}

func mark(t *testing.T, dir string) upgrade.Mark {
	t.Helper()
	m, _, err := upgrade.Read(dir)
	check(t, err)
	return m
}

// TestKilledUpgrades kills an upgrade at random moments, and then taking it back.
// The next try comes to the end: every record once and new, or all as before.
func TestKilledUpgrades(t *testing.T) {
	_, r := need.Seed(t)
	base := filepath.Join(t.TempDir(), "base")
	makeOld(t, base)
	before := content(t, filepath.Join(base, "state"))
	whole := filepath.Join(t.TempDir(), "whole")
	check(t, os.CopyFS(whole, os.DirFS(base)))
	took := child(t, "upgrade", whole, 0)
	undone := child(t, "undo", whole, 0)
	if d := cmp.Diff(before, content(t, filepath.Join(whole, "state"))); d != "" {
		t.Errorf("after an upgrade was taken back (-before +after):\n%s", d)
	}
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	hits := map[string]int{}
	for range rounds {
		dir := filepath.Join(t.TempDir(), "data")
		check(t, os.CopyFS(dir, os.DirFS(base)))
		child(t, "upgrade", dir, 1+time.Duration(r.Int64N(int64(took))))
		switch m := mark(t, dir); {
		case m.Pending != 0:
			hits["records being brought up"]++
		case m.Format == upgrade.Current:
			hits["done"]++
		default:
			hits["state being kept"]++
		}
		if r.IntN(2) == 0 {
			child(t, "upgrade", dir, 1+time.Duration(r.Int64N(int64(took))))
		}
		child(t, "upgrade", dir, 0)
		isYoung(t, dir)
		m := mark(t, dir)
		if m.Format != upgrade.Current || m.Pending != 0 || m.Program != "v2" || m.Previous == nil || m.Previous.Format != 1 {
			t.Fatalf("mark %+v", m)
		}
		for try := 0; ; try++ {
			if m := mark(t, dir); m.Format == 1 {
				break
			}
			kill := 1 + time.Duration(r.Int64N(int64(undone)))
			if try > 3 {
				kill = 0
			}
			child(t, "undo", dir, kill)
			if m := mark(t, dir); m.Undo != "" {
				hits["being taken back"]++
				if err := upgrade.Check(dir); err == nil || !strings.Contains(err.Error(), "run nocturne downgrade") {
					t.Fatalf("half taken back it is opened: %v", err)
				}
			}
		}
		if d := cmp.Diff(before, content(t, filepath.Join(dir, "state"))); d != "" {
			t.Fatalf("taken back (-before +after):\n%s", d)
		}
		aside, err := filepath.Glob(filepath.Join(dir, "state.format-2.*"))
		if err != nil || len(aside) != 1 {
			t.Fatalf("aside are %v, %v", aside, err)
		}
		if n := content(t, aside[0])["record thing"].Records; n != records {
			t.Fatalf("aside are %d records", n)
		}
		check(t, os.RemoveAll(dir))
	}
	t.Logf("an upgrade takes %s, taking it back %s; killed in %d rounds: %v", took.Round(time.Millisecond), undone.Round(time.Millisecond), rounds, hits)
}

// TestNewerFolderIsRefused names the version, and changes nothing.
func TestNewerFolderIsRefused(t *testing.T) {
	f := func(mark string, want ...string) {
		t.Helper()
		dir := t.TempDir()
		path := filepath.Join(dir, "format")
		check(t, os.WriteFile(path, []byte(mark), 0o600))
		_, err := upgrade.Begin(dir, "v2", quiet)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q in it", mark, err, w)
			}
		}
		if _, newer := errors.AsType[*upgrade.NewerError](err); newer != strings.Contains(mark, ":7") {
			t.Errorf("%s: %v", mark, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != mark {
			t.Errorf("%s has become %s, %v", mark, now, err)
		}
	}
	f(`{"format":7,"program":"1.9.0","since":"2027-02-03T04:05:06Z"}`, "format 7", "nocturne 1.9.0", "2027-02-03T04:05:06Z", "up to 2", "Install nocturne 1.9.0 or newer", "restore a backup")
	f(`{"format":2,"pending":7,"program":"1.9.0","since":"2027-02-03T04:05:06Z"}`, "format 7", "nocturne 1.9.0")
	f(`{"format":7,"program":"1.9.0","previous":{"format":2,"program":"1.8.0","kept":"x","at":"2027-01-01T00:00:00Z"}}`, "nocturne downgrade --data", "of that version", "2027-01-01T00:00:00Z")
	f(`{"format":`, "format", "is damaged", "backup")
	f(``, "is damaged")
	f(`{}`, "is damaged")
}

// TestFreshFolder is marked, and not upgraded.
func TestFreshFolder(t *testing.T) {
	dir := t.TempDir()
	db, err := start(dir)
	check(t, err)
	check(t, db.Close())
	if m := mark(t, dir); m.Format != upgrade.Current || m.Previous != nil || m.Program != "v2" {
		t.Errorf("mark %+v", m)
	}
	if _, err := upgrade.Undo(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "never upgraded") {
		t.Errorf("taken back: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "state-before-2.export")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an export: %v", err)
	}
}

// TestDamagedExportIsNotPutBack flips a byte of the kept state.
func TestDamagedExportIsNotPutBack(t *testing.T) {
	dir := t.TempDir()
	makeOld(t, dir)
	db, err := start(dir)
	check(t, err)
	check(t, db.Close())
	path := filepath.Join(dir, mark(t, dir).Previous.Kept)
	data, err := os.ReadFile(path)
	check(t, err)
	data[len(data)/2] ^= 4
	check(t, os.WriteFile(path, data, 0o600))
	if _, err := upgrade.Undo(t.Context(), dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("put back: %v", err)
	}
	isYoung(t, dir)
}

// TestFormatIsRestored knows what a restore put there.
func TestFormatIsRestored(t *testing.T) {
	dir := t.TempDir()
	check(t, upgrade.Put(dir, 1, "0.9"))
	if err := upgrade.CheckCurrent(dir); err == nil || !strings.Contains(err.Error(), "start nocturne serve once") {
		t.Errorf("format 1: %v", err)
	}
	db, err := start(dir)
	check(t, err)
	check(t, db.Close())
	if err := upgrade.CheckCurrent(dir); err != nil {
		t.Error(err)
	}
}
