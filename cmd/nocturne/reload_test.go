package main

import (
	"bytes"
	"encoding/json"
	"errors"
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

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/lab"
	"nocturne/internal/ledger"
	"nocturne/internal/web"
)

// TestDifferences holds what is told of two configurations against what was
// changed. A secret shows only that it is another.
func TestDifferences(t *testing.T) {
	base := `
listen: 127.0.0.1:1
targets:
  snmp:
  - {name: a, address: h1, credential: c}
  - {name: b, address: h2, credential: c}
credentials:
- {name: c, snmp: {version: 2c, community: hunter2}}
alerting: {webhooks: [{name: w, url: "http://x/hunter2"}]}
`
	f := func(text string, want ...string) {
		t.Helper()
		was, err := LoadConfig(writeConfig(t, base))
		if err != nil {
			t.Fatal(err)
		}
		is, err := LoadConfig(writeConfig(t, text))
		if err != nil {
			t.Fatal(err)
		}
		// The folders of the two files differ, and what is relative to them.
		was.dir, is.dir, was.Data, is.Data = "", "", "", ""
		var got []string
		for _, c := range differences(was, is) {
			line := c.Field + ": " + c.Was + " -> " + c.Is
			if c.Restart {
				line += " (restart)"
			}
			got = append(got, line)
			if strings.Contains(line, "hunter") {
				t.Errorf("a secret is told: %s", line)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%q, want\n%q", got, want)
		}
	}
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(base) }
	f(base)
	f(edit("127.0.0.1:1", "127.0.0.1:2"), "listen: 127.0.0.1:1 -> 127.0.0.1:2 (restart)")
	f(edit("address: h2", "address: h3, labels: {x: y}"), "targets.snmp[b].address: h2 -> h3", "targets.snmp[b].labels: {} -> {x: y}")
	f(edit("  - {name: b, address: h2, credential: c}\n", "  - {name: d, address: h2, credential: c, interval: 1m}\n"),
		"targets.snmp[b]: {name: b, address: h2, credential: c} -> ", "targets.snmp[d]:  -> {name: d, address: h2, credential: c, interval: 1m0s}")
	f(edit("  - {name: a, address: h1, credential: c}\n  - {name: b, address: h2, credential: c}\n", "  - {name: b, address: h2, credential: c}\n  - {name: a, address: h1, credential: c}\n"))
	f(edit("community: hunter2", "community: hunter3"), "credentials[c].snmp.community: <secret> -> <secret> (changed)")
	f(edit("http://x/hunter2", "http://x/hunter3"), "alerting.webhooks[w].url: <secret> -> <secret> (changed)")
	f(base+"history: {retention: 40d, limits: {series: 5}}\nlog: {level: debug, format: json}\nautomation: {global_slots: 3}\n",
		"log.level: info -> debug", "log.format: text -> json (restart)", "history.retention: 30d -> 40d (restart)",
		"history.limits.series: 2000000 -> 5", "automation.global_slots: 256 -> 3")
}

// reloadHall is a running house whose configuration is files.
type reloadHall struct {
	*hall
	t    *testing.T
	path string
	log  *lockedBuffer
}

func startReloadHall(t *testing.T) *reloadHall {
	t.Helper()
	l, err := lab.New(lab.Options{Racks: 2, Hosts: 6})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h := &reloadHall{hall: &hall{lab: l, hook: newReceiver(t)}, t: t, path: filepath.Join(dir, "nocturne.yaml"), log: &lockedBuffer{}}
	writeChildConfig(t, l, dir, h.hook.url)
	load := func() (Config, error) { return LoadConfig(h.path) }
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if h.house, err = openHouse(cfg, slog.New(slog.NewTextHandler(h.log, nil)), true); err != nil {
		t.Fatal(err)
	}
	h.reloadable(h.path, load)
	run(t, l.Run, h.house)
	h.settled(t)
	return h
}

// edit changes the configuration's file, which is JSON.
func (h *reloadHall) edit(change func(map[string]any)) {
	h.t.Helper()
	b, err := os.ReadFile(h.path)
	if err != nil {
		h.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		h.t.Fatal(err)
	}
	change(m)
	if b, err = json.Marshal(m); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path, b, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *reloadHall) write(name, text string) string {
	h.t.Helper()
	p := filepath.Join(filepath.Dir(h.path), name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *reloadHall) targetNames() (out []string) {
	for _, s := range h.collector.Status() {
		out = append(out, s.Target.Name)
	}
	slices.Sort(out)
	return out
}

// standing is all that a reload could change.
func (h *reloadHall) standing() map[string]any {
	out := map[string]any{"targets": h.targetNames(), "config": *h.config()}
	for _, r := range h.alerts.Rules() {
		out["rule "+r.Name] = r.Query
	}
	for _, n := range h.alerts.Notifiers() {
		out["receiver "+n.Name] = true
	}
	for _, b := range h.jobs.Runbooks() {
		out["runbook "+b.Name] = b.Revision
	}
	for _, m := range h.remedies.Remedies() {
		out["remedy "+m.Name] = m.Revision()
	}
	for _, i := range h.inspector.Inspections() {
		out["inspection "+i.Name] = i.Schedule
	}
	return out
}

// refused wants a reload to change nothing and to say all of these.
func (h *reloadHall) refused(want ...string) {
	h.t.Helper()
	before := h.standing()
	_, err := h.reload.Reload(h.t.Context(), "person:ada")
	if _, ok := errors.AsType[*web.RefusedError](err); !ok {
		h.t.Fatalf("the reload was not refused: %v", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			h.t.Errorf("the refusal %q lacks %q", err, w)
		}
	}
	after := h.standing()
	for k := range before {
		if k == "config" {
			if d := differences(before[k].(Config), after[k].(Config)); len(d) > 0 {
				h.t.Errorf("refused, and yet changed: %v", d)
			}
			delete(before, k)
			delete(after, k)
		}
	}
	if !maps.EqualFunc(before, after, func(a, b any) bool { x, _ := json.Marshal(a); y, _ := json.Marshal(b); return bytes.Equal(x, y) }) {
		h.t.Errorf("refused, and yet changed:\n%v\n%v", before, after)
	}
}

const bigRules = `groups:
- name: hosts
  rules:
  - {alert: ServiceFailed, expr: 'node_systemd_unit_state{state="failed"} > 0', for: 2s, labels: {severity: critical}}
- name: fresh
  rules:
  - {alert: AlwaysOn, expr: 'sum(up) > 0'}
`

// TestReload changes everything that can be changed while the product runs, at
// once, under a firing alert, and shows that it all holds; before, that one
// fault anywhere changes nothing.
func TestReload(t *testing.T) {
	whole(t)
	h := startReloadHall(t)
	h.lab.BreakRemedy(lab.RemedyFails)
	host := h.lab.Hosts()[0]
	if err := h.lab.StopService(host.Name, host.Services[0]); err != nil {
		t.Fatal(err)
	}
	// While its restart is tried the service is not failed, and a poll may say so:
	// that is another episode.
	var firing alerting.Alert
	eventually(t, time.Minute, "the alert fires, after its remedy has failed, for three polls", func() bool {
		var ok bool
		firing, ok = h.alertOn(host.Name, host.Services[0])
		return ok && firing.Phase == alerting.Firing && slices.ContainsFunc(h.jobs.Jobs(10), func(j automation.Job) bool {
			return j.Episode == firing.Episode && !j.Ended.IsZero() && time.Since(j.Ended) > 3*h.config().Collector.Interval
		})
	})
	gone := h.lab.Agents()[0].Name
	rules := h.write("new-rules.yml", bigRules)
	book := h.write("book.yaml", "name: say\nsteps:\n- {name: say, shell: 'echo hello', idempotent: true}\n")
	remedies := h.write("new-remedies.yaml", "remedies:\n- {name: say-so, alert: ServiceFailed, runbook: say, host: '{{ .Labels.instance }}'}\n")
	inspections := h.write("inspections.yaml", "inspections:\n- name: hourly\n  schedule: '0 * * * *'\n  checks:\n  - {name: up, query: up, fail: '< 1'}\n")
	second := newReceiver(t)
	change := func(m map[string]any) {
		targets := m["targets"].(map[string]any)
		targets["snmp"] = slices.DeleteFunc(targets["snmp"].([]any), func(x any) bool { return x.(map[string]any)["name"] == gone })
		m["alerting"] = map[string]any{"interval": "1s", "rules": []string{rules}, "webhooks": []any{map[string]any{"name": "night", "url": second.url + "/hunter2"}}}
		m["automation"] = map[string]any{"regions": m["automation"].(map[string]any)["regions"], "runbooks": []string{book}, "remedies": []string{remedies}}
		automation := m["automation"].(map[string]any)
		automation["global_slots"], automation["regions"].([]any)[0].(map[string]any)["slots"] = 77, 33
		m["history"] = map[string]any{"limits": map[string]any{"series": 123456}}
		m["inspections"] = []string{inspections}
		m["log"] = map[string]any{"level": "debug"}
		m["credentials"] = append(m["credentials"].([]any), map[string]any{"name": "new", "snmp": map[string]any{"community": "hunter2"}})
	}
	h.edit(change)

	// A fault in one of the files, then a field that needs a restart.
	h.write("book.yaml", "name: say\nstepps: []\n")
	h.refused(book+":2", "stepps")
	h.write("book.yaml", "name: say\nsteps:\n- {name: say, shell: 'echo hello', idempotent: true}\n")
	h.edit(func(m map[string]any) { m["collector"].(map[string]any)["interval"] = "often" })
	h.refused(h.path+":1", "collector.interval", "wants a time")
	h.edit(func(m map[string]any) {
		m["collector"].(map[string]any)["interval"] = "3s"
		m["listen"] = "127.0.0.1:1"
	})
	h.refused("listen is changed and needs a restart")
	h.edit(func(m map[string]any) { m["listen"] = "127.0.0.1:0" })
	if err := os.WriteFile(rules, []byte("groups: [{name: g, rules: [{alert: A, expr: 'up =='}]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.refused(rules, "A")
	h.write("new-rules.yml", bigRules)

	shown, err := h.reload.Difference()
	if err != nil || len(shown.Changes) < 8 {
		t.Fatalf("the difference is %+v, %v", shown, err)
	}
	applied, err := h.reload.Reload(t.Context(), "person:ada")
	if err != nil {
		t.Fatal(err)
	}
	told, err := json.Marshal([]any{shown, applied, h.log.String()})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(told, []byte("hunter2")) {
		t.Errorf("a secret is told: %s", told)
	}
	if slices.Contains(h.targetNames(), gone) || len(h.targetNames()) == 0 {
		t.Errorf("targets are %q", h.targetNames())
	}
	stands := h.standing()
	for _, k := range []string{"rule AlwaysOn", "receiver night", "runbook say", "remedy say-so", "inspection hourly"} {
		if stands[k] == nil {
			t.Errorf("%s is not there", k)
		}
	}
	for _, k := range []string{"rule TargetDown", "receiver noc", "runbook restart-service", "remedy restart-failed-service", "inspection daily"} {
		if stands[k] != nil {
			t.Errorf("%s is still there", k)
		}
	}
	regions, _, _ := h.jobs.Regions()
	if regions[0].Slots != 33 || regions[0].Limit != 33 || h.history.Limits().Series != 123456 {
		t.Errorf("regions %+v, limits %+v", regions, h.history.Limits())
	}
	if logLevel.Level() != slog.LevelDebug {
		t.Errorf("the log's level is %v", logLevel.Level())
	}
	eventually(t, 20*time.Second, "a new rule fires, and the new receiver hears of it and of what fired before", func() bool {
		heard := func(rule string) bool {
			return second.any(func(_ string, labels, _ map[string]string) bool { return labels["alertname"] == rule })
		}
		return heard("AlwaysOn") && heard("ServiceFailed")
	})
	if a, err := h.alerts.Episode(firing.Episode); err != nil || a.Phase != alerting.Firing {
		t.Errorf("the alert that fired is %s, %v", a.Phase, err)
	}
	if again, err := h.reload.Difference(); err != nil || len(again.Changes) > 0 {
		t.Errorf("applied, and yet different: %+v, %v", again, err)
	}
	recorded := 0
	for e, err := range h.ledger.Subject("configuration") {
		if err != nil {
			t.Fatal(err)
		}
		if recorded++; e.Kind != ledger.Audit || e.Actor != "person:ada" || e.Action != "configuration.reload" || !bytes.Contains(e.Data, []byte("alerting.webhooks[night]")) || bytes.Contains(e.Data, []byte("hunter2")) {
			t.Errorf("the ledger says %+v", e)
		}
	}
	if recorded != 1 {
		t.Errorf("the ledger tells of %d reloads, want 1", recorded)
	}
}

// TestHangup reloads a real process by SIGHUP, as systemctl reload does.
func TestHangup(t *testing.T) {
	dir := t.TempDir()
	text := "data: " + dir + "\nlisten: 127.0.0.1:0\nlog: {level: info}\ncollector: {local: false}\n"
	path := writeConfig(t, text)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+path)
	p, _ := startProcess(t, cmd, false)
	hangup := func(with, want string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(with), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, want, func() bool { return strings.Contains(p.stderr.String(), want) })
	}
	hangup(strings.Replace(text, "local: false", "local: true", 1), "field=collector.local was=false is=true")
	hangup(text+"lissten: x\n", "lissten: unknown field")
	hangup(strings.Replace(text, "127.0.0.1:0", "127.0.0.1:9", 1), "listen is changed and needs a restart")
	p.stop()
}
