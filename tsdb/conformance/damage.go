package conformance

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// killRounds is how often a writer is killed, each time somewhere else.
const killRounds = 5

// killRandom kills writers at random moments, in one folder after the other.
func killRandom(t *testing.T, s Subject, r *rand.Rand) (v Verdict) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "killed")
	acked := 0
	for round := range killRounds {
		var err error
		if acked, err = writeUntilKilled(t, s, dir, acked, 1+r.IntN(800)); err != nil {
			v.Detail = fmt.Sprintf("round %d: %v", round+1, err)
			return v
		}
	}
	c := verify(t, s, dir, acked)
	v.Pass = c.Found == acked
	v.Detail = fmt.Sprintf("%d times; %d acknowledged, %d lost, %d wrong%s", killRounds, acked, c.Lost, c.Wrong, because(c))
	return v
}

// damagedPoints are what a folder holds before its files are damaged.
const damagedPoints = 5000

// fixture writes a folder with blocks, where the store has them, and a log.
func fixture(t *testing.T, s Subject) (string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "whole")
	store, err := s.Open(dir)
	if err != nil {
		return "", err
	}
	for n := range damagedPoints {
		name, p := point(n)
		if err := store.Append(name, p.T, p.V); err != nil {
			return "", err
		}
		if settler, ok := store.(Settler); ok && n == damagedPoints*9/10 {
			if err := settler.Settle(); err != nil {
				return "", err
			}
		}
	}
	if err := store.Sync(); err != nil {
		return "", err
	}
	return dir, store.Close()
}

// files lists what has data in a folder.
func files(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err == nil && st.Size() > 0 {
			rel, _ := filepath.Rel(dir, path) // path is under dir
			found = append(found, rel)
		}
		return err
	})
	return found, err
}

func cutFiles(t *testing.T, s Subject, r *rand.Rand) Verdict {
	t.Helper()
	return damageEach(t, s, func(data []byte) []byte { return data[:r.IntN(len(data))] })
}

func flippedFiles(t *testing.T, s Subject, r *rand.Rand) Verdict {
	t.Helper()
	return damageEach(t, s, func(data []byte) []byte {
		at := r.IntN(len(data))
		for range len(data) { // not padding, if there is anything else
			if data[at] != 0 {
				break
			}
			at = (at + 1) % len(data)
		}
		data[at] ^= 1 << r.IntN(8)
		return data
	})
}

// damageEach damages the files of a folder one at a time. The store must open
// or say why not, and may miss points or refuse to read them; it may not give
// a value that was never written, nor die.
func damageEach(t *testing.T, s Subject, damage func([]byte) []byte) (v Verdict) {
	t.Helper()
	dir, err := fixture(t, s)
	if err != nil {
		v.Detail = err.Error()
		return v
	}
	list, err := files(dir)
	if err != nil {
		t.Fatal(err)
	}
	opened, wrong, lost, unread := 0, 0, 0, 0
	var bad []string
	for _, name := range list {
		damaged := filepath.Join(t.TempDir(), "damaged")
		if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(damaged, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(damaged, name), damage(data), 0o600); err != nil {
			t.Fatal(err)
		}
		c := verify(t, s, damaged, damagedPoints)
		switch {
		case c.OpenError != "":
			if strings.HasPrefix(c.OpenError, processDied) || !strings.Contains(c.OpenError, filepath.Base(name)) {
				bad = append(bad, fmt.Sprintf("%s: %.120s", name, c.OpenError))
			}
			continue
		case c.ReadError != "":
			unread++
		case c.Wrong > 0:
			bad = append(bad, fmt.Sprintf("%s: %d wrong values", name, c.Wrong))
		}
		opened++
		wrong += c.Wrong
		lost += c.Lost
		if err := os.RemoveAll(damaged); err != nil {
			t.Fatal(err)
		}
	}
	v.Pass = len(bad) == 0 && len(list) > 0
	v.Detail = fmt.Sprintf("%d files; opened %d, of these %d refused to read; of %d points lost %.1f on average, wrong %d",
		len(list), opened, unread, damagedPoints, float64(lost)/float64(max(opened, 1)), wrong)
	if len(bad) > 0 {
		v.Detail += "; " + strings.Join(bad, "; ")
	}
	return v
}
