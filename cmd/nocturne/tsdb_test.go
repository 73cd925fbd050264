package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/tsdb"
	"nocturne/tsdb/analysis"
	"nocturne/tsdb/archive"
	"nocturne/tsdb/rollup"
)

// tool runs one `nocturne tsdb` command and returns what it prints.
func tool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SetArgs(append([]string{"tsdb"}, args...))
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func mustTool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tool(t, args...)
	if err != nil {
		t.Fatalf("tsdb %v: %v\n%s", args, err, out)
	}
	return out
}

func mustJSON(t *testing.T, v any, args ...string) {
	t.Helper()
	out := mustTool(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// servedHistory is a history with samples in order and late, in a data folder
// that stays in use as a server's would.
func servedHistory(t *testing.T, data string) {
	t.Helper()
	db, err := tsdb.Open(tsdb.Options{Dir: filepath.Join(data, "history"), Retention: 30 * 24 * time.Hour, Interval: 15 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	now := time.Now().Truncate(time.Minute).Add(-3 * time.Hour).UnixMilli()
	for i := range int64(600) {
		at := now + i*15_000
		if i%20 == 19 {
			at -= 600_007
		}
		var batch []tsdb.Sample
		for n := range 10 {
			batch = append(batch, tsdb.Sample{Labels: labels.FromStrings("__name__", "m", "job", "j", "instance", strconv.Itoa(n)), T: at, V: float64(i) / 3})
		}
		if r, err := db.Append(t.Context(), batch); err != nil || r.Appended != 10 {
			t.Fatal(r, err)
		}
	}
}

// TestHistoryTools goes through all the commands beside a history in use:
// analyze and verify count its samples, a dump imported elsewhere and a backup
// restored elsewhere dump as the same text.
func TestHistoryTools(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	servedHistory(t, data)
	path := func(name string) string { return filepath.Join(dir, name) }

	var a analysis.Report
	mustJSON(t, &a, "analyze", "--data", data)
	if a.Series != 10 || a.Samples != 6000 || len(a.Sources) != 10 || a.Metrics[0].Name != "m" {
		t.Errorf("analyzed %+v", a)
	}
	if out := mustTool(t, "analyze", "--data", data); !strings.Contains(out, "10 series, 6000 samples") || !strings.Contains(out, "CHURN FROM") {
		t.Errorf("analyzed:\n%s", out)
	}
	var v verified
	mustJSON(t, &v, "verify", "--data", data)
	if !v.Running || v.Samples < 6000 || len(v.Faults) > 0 {
		t.Errorf("verified %+v", v)
	}

	text := mustTool(t, "dump", "--data", data)
	if n := strings.Count(text, "\n"); n != 6001 {
		t.Errorf("dumped %d lines", n)
	}
	mustTool(t, "dump", "--data", data, "--match", `{instance="3"}`, "-o", path("three.om"))
	if three, err := os.ReadFile(path("three.om")); err != nil || bytes.Count(three, []byte("\n")) != 601 {
		t.Errorf("dumped of one: %d lines, %v", bytes.Count(three, []byte("\n")), err)
	}
	if err := os.WriteFile(path("all.om"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	var in imported
	mustJSON(t, &in, "import", path("all.om"), path("three.om"), "--data", path("imported"))
	if in.Text == nil || in.Text.Samples != 6000 {
		t.Errorf("imported %+v", in.Text)
	}
	if got := mustTool(t, "dump", "--data", path("imported")); got != text {
		t.Error("the dump of what was imported is another text")
	}
	mustTool(t, "import", path("all.om"), "--data", data) // what is there already
	if got := mustTool(t, "dump", "--data", data); got != text {
		t.Error("importing a history's own dump changed it")
	}
	mustJSON(t, &in, "import", path("imported/history"), "--data", path("blocks"))
	if got := mustTool(t, "dump", "--data", path("blocks")); got != text || in.Blocks.Samples != 6000 {
		t.Errorf("blocks imported %+v dump as another text", in.Blocks)
	}

	// Imported samples are old enough to be rolled up; the history in use is
	// its server's.
	var tiers []rollup.Stats
	mustJSON(t, &tiers, "rollup", "--data", path("imported"))
	if len(tiers) != 2 || tiers[0].Name != "5m" || tiers[0].Blocks == 0 || tiers[1].Name != "1h" {
		t.Errorf("rolled up %+v", tiers)
	}
	if out, err := tool(t, "rollup", "--data", data); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("rolling up beside a server: %v\n%s", err, out)
	}

	var r archive.Report
	mustJSON(t, &r, "backup", "--data", data, "--to", path("backup"))
	mustJSON(t, &r, "backup", "--data", data, "--to", path("backup"))
	if r.NewBlocks != 0 {
		t.Errorf("the second backup: %+v", r)
	}
	mustTool(t, "restore", "--from", path("backup"), "--at", r.Name, "--data", path("restored"))
	if got := mustTool(t, "dump", "--data", path("restored")); got != text {
		t.Error("the dump of what was restored is another text")
	}
	mustTool(t, "backup", "prune", "--from", path("backup"), "--keep", "1")
	if out := mustTool(t, "backup", "list", "--from", path("backup")); strings.Count(out, "\n") != 2 || !strings.Contains(out, r.Name) {
		t.Errorf("listed:\n%s", out)
	}
}

// TestHistoryToolFaults: what is wrong is named, and the command fails.
func TestHistoryToolFaults(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	servedHistory(t, data)
	path := func(name string) string { return filepath.Join(dir, name) }
	f := func(want string, args ...string) {
		t.Helper()
		out, err := tool(t, args...)
		if err == nil || !strings.Contains(out+err.Error(), want) {
			t.Errorf("tsdb %v: %v, want %q\n%s", args, err, want, out)
		}
	}
	if err := os.WriteFile(path("bad.om"), []byte("a 1 1763870400\na b 1763870401\n# EOF\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	f("nothing was imported: "+path("bad.om")+":2: series", "import", path("bad.om"), "--data", data)
	f("there is no history in", "verify", "--data", path("none"))
	f("is no time", "dump", "--data", data, "--from", "yesterday")
	f("--match", "dump", "--data", data, "--match", "{")
	f("the folder is not empty", "restore", "--from", dir, "--data", data)
	f("at least one generation has to stay", "backup", "prune", "--from", dir, "--keep", "0")

	mustTool(t, "dump", "--data", data, "-o", path("all.om"))
	mustTool(t, "import", path("all.om"), "--data", path("other"))
	blocks, _ := filepath.Glob(path("other/history/01*"))
	index := filepath.Join(blocks[0], "index")
	raw, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	raw[bytes.Index(raw, []byte("instance"))] ^= 1
	if err := os.WriteFile(index, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	f(filepath.Base(blocks[0]), "verify", "--data", path("other"))
	f("refused: block "+blocks[0], "import", path("other/history"), "--data", path("third"))
	if left, _ := filepath.Glob(path("*/history/import-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
