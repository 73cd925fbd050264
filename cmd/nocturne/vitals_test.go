package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sys/unix"

	"nocturne/alerting"
	"nocturne/collector"
	"nocturne/collector/self"
	"nocturne/internal/lab"
	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/state"
)

// TestApplianceRules has Prometheus' own tool judge the rules about the
// program itself, on series that are well and on series that are not.
func TestApplianceRules(t *testing.T) {
	t.Parallel()
	promtool := need.Binary(t, "promtool", "prometheus")
	dir := t.TempDir()
	rules, err := defaultFile("appliance.yml")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := os.ReadFile(filepath.Join("testdata", "appliance_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"appliance.yml": rules.data, "appliance_test.yml": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(promtool, "test", "rules", filepath.Join(dir, "appliance_test.yml")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, name := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules.data), -1) {
		if n := strings.Count(string(cases), name[1]); n < 2 {
			t.Errorf("%s is in %d cases, wants one where it fires and one where not", name[1], n)
		}
	}
}

var metricName = regexp.MustCompile(`\bnocturne_\w+`)

// describedName tells whether the catalogue has a name, or the histogram that it
// is a part of.
func describedName(name string) bool {
	return slices.ContainsFunc(self.Metrics, func(m collector.Metric) bool {
		return m.Name == name || m.Type == "histogram" && slices.Contains([]string{m.Name + "_sum", m.Name + "_count", m.Name + "_bucket"}, name)
	})
}

func TestApplianceRulesNameKnownMetrics(t *testing.T) {
	rules, err := defaultFile("appliance.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metricName.FindAllString(string(rules.data), -1) {
		if !describedName(name) {
			t.Errorf("%s is in no catalogue", name)
		}
	}
}

// TestApplianceIsSeen runs the product on a small hall and finds the product
// itself in its history, its inventory and its pages.
func TestApplianceIsSeen(t *testing.T) {
	whole(t)
	h := startHall(t, lab.Options{Racks: 2, Hosts: 4})
	h.settled(t)
	res, err := http.Get(h.address() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for line := range strings.Lines(string(text)) {
		name := metricName.FindString(line)
		if name == "" || !strings.HasPrefix(line, name) {
			continue
		}
		if names++; !describedName(name) {
			t.Errorf("%s is in no catalogue", name)
		}
	}
	if names < 50 {
		t.Errorf("%d metrics of our own", names)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(h.cfg.Data, &fs); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]float64{
		`nocturne_data_size_bytes{job="nocturne",instance="nocturne"}`:                          float64(fs.Blocks) * float64(fs.Bsize),
		`nocturne_collector_targets_known{kind="linux"}`:                                        4,
		`sum(nocturne_collector_targets_unseen)`:                                                0,
		`up{job="nocturne"}`:                                                                    1,
		`process_resident_memory_bytes{job="nocturne"} > bool 1e7`:                              1,
		`count({__name__=~"nocturne_.+",vmrange!=""}) or vector(0)`:                             0,
		`nocturne_alerting_notifications_waiting{receiver="noc"} + on() vector(0)`:              0,
		`max(nocturne_automation_tasks_waiting) + max(nocturne_automation_oldest_task_seconds)`: 0,
		`nocturne_history_series > bool 100`:                                                    1,
	} {
		h.askFor(t, query, want)
	}
	it, ok := h.graph.Item("appliance/nocturne")
	if !ok || it.Value("version") != version {
		t.Errorf("the item of the program: %+v, %v", it, ok)
	}
	if id, ok := h.graph.Resolve(labels.FromStrings("job", "nocturne", "instance", "nocturne", "kind", "snmp"), time.Now()); !ok || id != it.ID {
		t.Errorf("series of the program belong to %q", id)
	}
}

// askFor waits until a query has the one wanted value.
func (h *hall) askFor(t *testing.T, query string, want float64) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("%s = %g", query, want), func() bool {
		res, err := h.history.Query(t.Context(), query, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		v, err := res.Vector()
		return err == nil && len(v) == 1 && v[0].F == want
	})
}

// TestBrokenLedgerIsTold changes an early record of the ledger behind the
// program's back: it starts, finds it, and fires.
func TestBrokenLedgerIsTold(t *testing.T) {
	whole(t)
	dir := t.TempDir()
	tamperWithLedger(t, filepath.Join(dir, "data", "state"))
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Collector.Local = filepath.Join(dir, "data"), "127.0.0.1:0", false
	cfg.Collector.Interval, cfg.Collector.Timeout, cfg.Alerting.Interval = time.Second, 900*time.Millisecond, time.Second
	h, err := openHouse(cfg, testLog(t), false)
	if err != nil {
		t.Fatal(err)
	}
	run(t, func(context.Context) error { return nil }, h)
	if _, err := h.ledger.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "at entry 7") {
		t.Fatalf("the chain: %v", err)
	}
	eventually(t, 30*time.Second, "LedgerBroken fires on the program's own item", func() bool {
		return slices.ContainsFunc(h.alerts.Alerts(), func(a alerting.Alert) bool {
			return a.Rule == "LedgerBroken" && a.Phase == alerting.Firing && a.Item == "appliance/nocturne"
		})
	})
}

// tamperWithLedger makes a ledger whose seventh entry was changed; the start
// looks only at the last 256.
func tamperWithLedger(t *testing.T, dir string) {
	t.Helper()
	db, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if _, err := chain.Append(ledger.Entry{Kind: ledger.Audit, Actor: "system", Action: "look", Subject: "nothing"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	key := append([]byte("lledger\x00"), 0, 0, 0, 0, 0, 0, 0, 7)
	if err := raw.Update(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		v, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		return txn.Set(key, []byte(strings.Replace(string(v), `"nothing"`, `"notning"`, 1)))
	}); err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
}
