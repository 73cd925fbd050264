package state

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nocturne/internal/need"
)

// childDir is set in the process that TestKilledProcessLosesNothing starts.
const childDir = "NOCTURNE_STATE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := write(dir, os.Getenv("NOCTURNE_STATE_ROUND")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(damagedDir); dir != "" {
		if err := json.NewEncoder(os.Stdout).Encode(lookAt(dir)); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// write writes until it is killed, and says on stdout what is durable.
func write(dir, round string) error {
	db, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	racks := NewTable[rack](db, "rack", 1)
	blobs := NewTable[string](db, "blob", 1)
	log, err := NewLog[line](db, "events", 1)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 6 {
		go func() {
			for i := 0; ; i++ {
				if err := step(racks, blobs, log, w, fmt.Sprintf("%s/%d/%d", round, w, i), i); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func step(racks *Table[rack], blobs *Table[string], log *Log[line], w int, name string, i int) error {
	switch w {
	case 0, 1, 2:
		rev, err := racks.Put(name, rack{Name: name, Units: i}, 0)
		if err != nil {
			return err
		}
		fmt.Printf("put %s %d\n", name, rev)
	case 3:
		v, _, err := racks.Update("counter", func(r *rack, _ bool) error { r.Units++; return nil })
		if err != nil {
			return err
		}
		fmt.Printf("counter x %d\n", v.Units)
	case 4:
		seq, err := log.AppendIndexed(line{name}, "all")
		if err != nil {
			return err
		}
		fmt.Printf("log %s %d\n", name, seq)
	case 5:
		size := valueThreshold/2 + i%3*valueThreshold
		if _, err := blobs.Put(name, strings.Repeat("b", size), 0); err != nil {
			return err
		}
		fmt.Printf("blob %s %d\n", name, size)
	}
	return nil
}

type acknowledged struct {
	kind, name string
	n          uint64
}

func TestKilledProcessLosesNothing(t *testing.T) {
	_, r := need.Seed(t)
	dir := t.TempDir()
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	var acked []acknowledged
	for round := range rounds {
		acked = append(acked, runAndKill(t, dir, round, 50+r.IntN(1500))...)
		db := open(t, dir)
		checkAcknowledged(t, db, acked)
		if left, err := db.Damaged(); err != nil || len(left) > 0 {
			t.Errorf("a kill was taken for damage: %v, %v", left, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged writes found after %d kills", len(acked), rounds)
}

// runAndKill returns what the child said was durable before kill -9.
func runAndKill(t *testing.T, dir string, round, after int) []acknowledged {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprint("NOCTURNE_STATE_ROUND=", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []acknowledged
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var a acknowledged
		if n, _ := fmt.Sscan(lines.Text(), &a.kind, &a.name, &a.n); n < 3 {
			continue // cut off by the kill
		}
		if acked = append(acked, a); len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acked) < after {
		t.Fatalf("the writer ended by itself after %d writes: %v", len(acked), err)
	}
	return acked
}

func checkAcknowledged(t *testing.T, db *DB, acked []acknowledged) {
	t.Helper()
	racks := NewTable[rack](db, "rack", 1)
	blobs := NewTable[string](db, "blob", 1)
	log := must[*Log[line]](t)(NewLog[line](db, "events", 1))
	entries := map[uint64]string{}
	for e, err := range log.Read(1) {
		if err != nil || e.Seq != uint64(len(entries)+1) {
			t.Fatalf("log entry %d after %d: %v", e.Seq, len(entries), err)
		}
		entries[e.Seq] = e.Value.Text
	}
	if indexed := len(texts(t, log.ReadIndex("all"))); indexed != len(entries) {
		t.Errorf("%d entries, %d in the index", len(entries), indexed)
	}
	counter, _, _ := racks.Get("counter")
	for _, a := range acked {
		switch a.kind {
		case "put":
			if v, rev, err := racks.Get(a.name); err != nil || v.Name != a.name || rev != Rev(a.n) {
				t.Fatalf("%v: %v at %d, %v", a, v, rev, err)
			}
		case "counter":
			if counter.Units < int(a.n) {
				t.Fatalf("counter at %d, %d was acknowledged", counter.Units, a.n)
			}
		case "log":
			if entries[a.n] != a.name {
				t.Fatalf("%v: entry is %q", a, entries[a.n])
			}
		case "blob":
			if v, _, err := blobs.Get(a.name); err != nil || len(v) != int(a.n) {
				t.Fatalf("%v: %d bytes, %v", a, len(v), err)
			}
		}
	}
}

// remains writes n records one by one and returns a copy of the files as they
// lie there when the process dies.
func remains(t *testing.T, n, size int) string {
	t.Helper()
	db := open(t, t.TempDir())
	racks := NewTable[rack](db, "rack", 1)
	for i := range n {
		must[Rev](t)(racks.Put(fmt.Sprintf("%03d", i), rack{Name: strings.Repeat(string(rune('a'+i%26)), size), Units: i}, 0))
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(db.badger.Opts().Dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// change edits the one file in dir that matches pattern and holds mark.
func change(t *testing.T, dir, pattern, mark string, f func(data []byte, at int) []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, []byte(mark)); at >= 0 {
			if err := os.WriteFile(name, f(data, at), 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%q is in none of %v", mark, files)
}

// readable opens dir and returns which of n records can be read, and the
// errors of the others.
func readable(t *testing.T, dir string, n int) (good []int, errs []error, damaged []string, logged string) {
	t.Helper()
	var log bytes.Buffer
	db, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	racks := NewTable[rack](db, "rack", 1)
	for i := range n {
		if v, _, err := racks.Get(fmt.Sprintf("%03d", i)); err != nil || v.Units != i {
			errs = append(errs, err)
		} else {
			good = append(good, i)
		}
	}
	if _, err := racks.Put("new", rack{}, 0); err != nil {
		t.Errorf("write after damage: %v", err)
	}
	if damaged, err = db.Damaged(); err != nil {
		t.Error(err)
	}
	return good, errs, damaged, log.String()
}

// A write-ahead log that ends within a transaction is what a crash leaves.
func TestTornLogLosesOnlyItsEnd(t *testing.T) {
	dir := remains(t, 20, 50)
	change(t, dir, "*.mem", "rack\x00019", func(data []byte, at int) []byte { return data[:at+30] })
	good, _, damaged, logged := readable(t, dir, 20)
	if len(good) != 19 || len(damaged) != 0 || logged != "" {
		t.Errorf("read %v; damaged %v; logged %s", good, damaged, logged)
	}
}

// A log without a byte in it is what a kill leaves between its making and its
// first length, or its last length and its end.
func TestEmptyLogs(t *testing.T) {
	dir := remains(t, 20, 50)
	for _, name := range []string{"00000.mem", "00099.mem", "000099.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good, errs, damaged, logged := readable(t, dir, 20)
	if len(good) != 20 || len(errs) != 0 || len(damaged) != 0 || logged != "" {
		t.Errorf("read %v, %v; damaged %v; logged %s", good, errs, damaged, logged)
	}
}

// A flipped bit in the midst is not: what can be read is there, the file is
// kept, and it is said.
func TestDamagedLogIsKeptAndReported(t *testing.T) {
	_, r := need.Seed(t)
	for range 5 {
		hit := 1 + r.IntN(18)
		dir := remains(t, 20, 50)
		change(t, dir, "*.mem", fmt.Sprintf("rack\x00%03d", hit), func(data []byte, at int) []byte {
			// Anywhere in the entry, its lengths before the key included: a
			// length that is wrong must not be taken for an amount of memory.
			data[at-6+r.IntN(40)] ^= 1 << r.IntN(8)
			return data
		})
		good, _, damaged, logged := readable(t, dir, 20)
		if len(good) < hit-1 || len(good) > hit || len(damaged) != 1 || !strings.Contains(logged, "offset=") || !strings.Contains(logged, damaged[0]) {
			t.Fatalf("damage in %d: read %v; damaged %v; logged %s", hit, good, damaged, logged)
		}
		kept, err := os.ReadFile(damaged[0])
		if err != nil || !bytes.Contains(kept, []byte("rack\x00019")) {
			t.Errorf("the copy does not hold the lost records: %v", err)
		}
	}
}

// Damage among large values is an error naming the record; what was written
// before it can be read.
func TestDamagedLargeValue(t *testing.T) {
	dir := remains(t, 6, 2*valueThreshold)
	change(t, dir, "*.vlog", strings.Repeat("c", 5000), func(data []byte, at int) []byte {
		data[at+1000] ^= 1
		return data
	})
	good, errs, _, _ := readable(t, dir, 6)
	if len(good) < 2 || len(errs) == 0 || !strings.Contains(fmt.Sprint(errs[0]), "rack 002") {
		t.Errorf("read %v; errors %v", good, errs)
	}
}
