package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nocturne/internal/need"
)

// damagedDir is set in the processes that TestEveryFileDamaged starts: Badger
// ends its process over some damage.
const damagedDir = "NOCTURNE_STATE_DAMAGED"

// found is what such a process saw.
type found struct {
	Refused string            // why the folder was not opened
	Records map[string]string // that could be read, by id
	Entries int
	Faults  []string // of records that could not
	Told    string   // the log
}

const everyRecords, everyEntries = 600, 60

// everyValue is what record n holds: a few are large.
func everyValue(n int) string {
	size := 4000 + n%7*1000
	if n%40 == 3 {
		size = valueThreshold + 1000
	}
	return fmt.Sprintf("%d:%s", n, strings.Repeat(string(rune('a'+n%26)), size))
}

func everyID(n int) string { return fmt.Sprintf("%05d", n) }

// lookAt opens a folder and reads all.
func lookAt(dir string) (f found) {
	var log bytes.Buffer
	db, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		return found{Refused: err.Error()}
	}
	f.Records = map[string]string{}
	for r, err := range NewTable[string](db, "thing", 1).All("") {
		if err != nil {
			f.Faults = append(f.Faults, err.Error())
			continue
		}
		f.Records[r.ID] = r.Value
	}
	events, err := NewLog[string](db, "events", 1)
	if err != nil {
		f.Faults = append(f.Faults, err.Error())
	} else {
		for e, err := range events.Read(1) {
			if err != nil || e.Value != fmt.Sprint(e.Seq) {
				f.Faults = append(f.Faults, fmt.Sprintf("entry %d is %q: %v", e.Seq, e.Value, err))
				break
			}
			f.Entries++
		}
	}
	if err := db.Close(); err != nil {
		f.Faults = append(f.Faults, err.Error())
	}
	f.Told = log.String()
	return f
}

// fillEvery writes through several flushes, each record twice: an earlier
// version that comes back is a wrong answer.
func fillEvery(t *testing.T, db *DB) {
	t.Helper()
	things := NewTable[string](db, "thing", 1)
	events := must[*Log[string]](t)(NewLog[string](db, "events", 1))
	for _, stale := range []bool{true, false} {
		for n := range everyRecords {
			v := everyValue(n)
			if stale {
				v = "stale " + v
			}
			if err := things.PutMany([]Record[string]{{ID: everyID(n), Value: v}}); err != nil {
				t.Fatal(err)
			}
			if !stale && n%(everyRecords/everyEntries) == 0 && int(events.Last()) < everyEntries {
				must[uint64](t)(events.Append(fmt.Sprint(events.Last() + 1)))
			}
		}
		for _, id := range []string{everyID(1), everyID(2)} { // deleted and made again
			if err := things.Delete(id, 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range []int{1, 2} {
			must[Rev](t)(things.Put(everyID(n), everyValue(n), 0))
		}
	}
}

// TestEveryFileDamaged cuts every file of a database at several places, flips
// bits in it, and takes it away, one at a time. The folder opens and gives true
// answers or errors, or is refused with the file's name and unchanged.
//
// Of a database that was killed, the end of the write-ahead log may go: a log
// that was cut there is one that a crash cut.
func TestEveryFileDamaged(t *testing.T) {
	_, r := need.Seed(t)
	live := filepath.Join(t.TempDir(), "live")
	db := open(t, live)
	fillEvery(t, db)
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	flips := 14
	if testing.Short() {
		flips = 3
	}
	for name, base := range map[string]string{"closed": live, "killed": killed} {
		t.Run(name, func(t *testing.T) {
			entries, err := os.ReadDir(base)
			if err != nil {
				t.Fatal(err)
			}
			untouched := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(untouched, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			whole := judge(t, untouched, "", "nothing is damaged")
			if whole.Refused != "" || len(whole.Records) != everyRecords || whole.Entries != everyEntries || len(whole.Faults) > 0 {
				t.Fatalf("without damage: %d records, %d entries, %v, %s", len(whole.Records), whole.Entries, whole.Faults, whole.Refused)
			}
			kinds := map[string]int{}
			for _, e := range entries {
				if e.Name() == "LOCK" || e.Name() == "reserve" || e.IsDir() {
					continue
				}
				data, err := os.ReadFile(filepath.Join(base, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				used := len(bytes.TrimRight(data, "\x00"))
				damage := map[string][]byte{"emptied": {}, "taken away": nil}
				for _, at := range []int{1, used / 3, used - 1, r.IntN(used + 1)} {
					if at > 0 && at < used {
						damage[fmt.Sprintf("cut at %d of %d", at, used)] = data[:at]
					}
				}
				for range flips {
					if used == 0 {
						break
					}
					at, bit := r.IntN(used), r.IntN(8)
					bad := slices.Clone(data)
					bad[at] ^= 1 << bit
					damage[fmt.Sprintf("bit %d of byte %d of %d flipped", bit, at, used)] = bad
				}
				for what, bad := range damage {
					dir := filepath.Join(t.TempDir(), "data")
					if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
						t.Fatal(err)
					}
					path := filepath.Join(dir, e.Name())
					if bad == nil {
						err = os.Remove(path)
					} else {
						err = os.WriteFile(path, bad, 0o600)
					}
					if err != nil {
						t.Fatal(err)
					}
					f := judge(t, dir, e.Name(), what)
					kinds[filepath.Ext(e.Name())+" "+outcome(f)]++
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("%v", kinds)
		})
	}
}

func outcome(f found) string {
	switch {
	case f.Refused != "":
		return "refused"
	case len(f.Faults) > 0:
		return "errors"
	case len(f.Records) < everyRecords || f.Entries < everyEntries:
		return "told"
	}
	return "whole"
}

// judge looks at a folder in a process of its own, and fails the test where an
// answer is wrong or something is missing without a word.
func judge(t *testing.T, dir, file, what string) (f found) {
	t.Helper()
	before := listing(t, dir)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), damagedDir+"="+dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	if err != nil {
		t.Errorf("%s %s: the process ended with %v:\n%.1500s", file, what, err, said.String())
		return f
	}
	if f.Refused != "" {
		if !strings.Contains(f.Refused, file) || file == "" {
			t.Errorf("%s %s: refused without the file's name: %s", file, what, f.Refused)
		}
		if after := listing(t, dir); !slices.Equal(before, after) {
			t.Errorf("%s %s: refused, but changed from %v to %v", file, what, before, after)
		}
		return f
	}
	for id, v := range f.Records {
		var n int
		if _, err := fmt.Sscanf(id, "%d", &n); err != nil || v != everyValue(n) && !walTail(file, v) {
			t.Errorf("%s %s: record %s is %.40q", file, what, id, v)
			break
		}
	}
	missing := len(f.Records) < everyRecords || f.Entries < everyEntries
	if missing && len(f.Faults) == 0 && !strings.Contains(f.Told, file) && !strings.HasSuffix(file, ".mem") {
		t.Errorf("%s %s: %d records and %d entries, and not a word: %s", file, what, len(f.Records), f.Entries, f.Told)
	}
	return f
}

// walTail allows the record as it was before, of what only the write-ahead log
// held.
func walTail(file, v string) bool {
	return strings.HasSuffix(file, ".mem") && strings.HasPrefix(v, "stale ")
}

// listing is names and sizes, but for what opening makes and removes by itself.
func listing(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "LOCK" || e.Name() == "reserve" {
			continue
		}
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(e.Name(), " ", st.Size()))
	}
	return all
}
