package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nocturne/internal/glob"
)

// largeValues is a closed folder with n values in its value log, and that log.
func largeValues(t *testing.T, n int) (dir, log string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	db := must[*DB](t)(Open(Options{Dir: dir}))
	things := NewTable[string](db, "thing", 1)
	for i := range n {
		must[Rev](t)(things.Put(everyID(i), strings.Repeat(string(rune('a'+i)), valueThreshold+1000), 0))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	logs := must[[]string](t)(glob.In(dir, "*.vlog"))
	return dir, logs[0]
}

// TestNumbersOfValueLogs takes a value log away: what pointed into it is an
// error, also after others were written that are as long.
func TestNumbersOfValueLogs(t *testing.T) {
	dir, log := largeValues(t, 1)
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	db := open(t, dir)
	things := NewTable[string](db, "thing", 1)
	must[Rev](t)(things.Put("other", strings.Repeat("z", valueThreshold+1000), 0))
	if v, _, err := things.Get(everyID(0)); err == nil {
		t.Errorf("a value that is gone reads as %.10s…", v)
	}
}

// TestDamagedValueCostsItselfAlone flips a bit in the first of twenty values.
func TestDamagedValueCostsItselfAlone(t *testing.T) {
	dir, log := largeValues(t, 20)
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	data[5000] ^= 4
	if err := os.WriteFile(log, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for opening := range 3 {
		db := must[*DB](t)(Open(Options{Dir: dir}))
		things := NewTable[string](db, "thing", 1)
		for i := range 20 {
			v, _, err := things.Get(everyID(i))
			if (err != nil) != (i == 0) || err == nil && v[0] != byte('a'+i) {
				t.Errorf("opening %d: value %d is %.10s, %v", opening, i, v, err)
			}
		}
		must[Rev](t)(things.Put(fmt.Sprint("new", opening), strings.Repeat("n", valueThreshold+1), 0))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOddlyNamedFolder loses its MANIFEST in a folder whose name is a pattern.
func TestOddlyNamedFolder(t *testing.T) {
	dir, _ := largeValues(t, 2)
	odd := filepath.Join(t.TempDir(), "dc[1]*")
	if err := os.Rename(dir, odd); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(odd, "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	if db, err := Open(Options{Dir: odd}); err == nil || !strings.Contains(err.Error(), "MANIFEST") {
		t.Errorf("opened %v, %v", db, err)
	}
	if left := must[[]string](t)(glob.In(odd, "*.sst")); len(left) == 0 {
		t.Error("the tables are gone")
	}
}
