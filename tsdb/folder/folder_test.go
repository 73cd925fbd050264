package folder

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// write puts a block folder under the name into dir, whose meta.json may be
// told to say otherwise.
func write(t *testing.T, dir, name string, id ulid.ULID, from, to int64, hints ...string) {
	t.Helper()
	m := tsdb.BlockMeta{ULID: id, MinTime: from, MaxTime: to, Version: 1}
	m.Compaction.Hints = hints
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, MetaName), raw, 0o666); err != nil {
		t.Fatal(err)
	}
}

// What the library will not load, or does not count itself, must not count:
// a later time here would keep merges back for good, an earlier one would let
// one drop samples of the head.
func TestWrittenCountsWhatTheLibraryCounts(t *testing.T) {
	dir := t.TempDir()
	is := func(want int64) {
		t.Helper()
		if got, err := Written(dir); err != nil || got != want {
			t.Fatalf("written up to %d, %v, want %d", got, err, want)
		}
	}
	is(math.MinInt64)
	a, b := ulid.ULID{1}, ulid.ULID{2}
	write(t, dir, a.String(), a, 0, 100)
	is(100)
	write(t, dir, b.String()+".damaged", b, 100, 200)
	write(t, dir, b.String()+".tmp-for-creation", b, 100, 200)
	is(100)
	write(t, dir, b.String(), b, 100, 300, tsdb.CompactionHintFromOutOfOrder)
	is(100)
	write(t, dir, b.String(), a, 100, 300) // the meta.json of another block
	is(100)
	write(t, dir, b.String(), b, 100, 300)
	is(300)
	if err := os.WriteFile(filepath.Join(dir, b.String(), MetaName), []byte(`{"ulid":`), 0o666); err != nil {
		t.Fatal(err)
	}
	is(100)
	if _, err := Meta(filepath.Join(dir, b.String())); err == nil || !strings.Contains(err.Error(), MetaName) {
		t.Fatalf("of a meta.json cut short: %v", err)
	}

	names, err := Blocks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{a.String(), b.String()}, names); d != "" {
		t.Fatal(d)
	}
	if _, err := Written(filepath.Join(dir, "absent")); err == nil {
		t.Fatal("no error for a folder that is not there")
	}
}
