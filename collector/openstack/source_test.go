package openstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/collector"
	"nocturne/internal/cloudconn"
)

func poll(t *testing.T, r *replay) collector.Result {
	t.Helper()
	s, target := r.source("right")
	res, err := s.Poll(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func kinds(res collector.Result) map[string]int {
	n := map[string]int{}
	for _, f := range res.Facts {
		n[f.Kind]++
	}
	return n
}

func byName(t *testing.T, res collector.Result, kind, name string) collector.Fact {
	t.Helper()
	i := slices.IndexFunc(res.Facts, func(f collector.Fact) bool { return f.Kind == kind && f.Name == name })
	if i < 0 {
		t.Fatalf("no %s %s", kind, name)
	}
	return res.Facts[i]
}

// series shows the samples of a metric as text, those with all of the labels.
func series(res collector.Result, name string, with ...string) []string {
	var out []string
	for _, s := range res.Samples {
		text := fmt.Sprintf("%s %v", s.Labels, s.V)
		if s.Labels.Get("__name__") == name && !slices.ContainsFunc(with, func(w string) bool { return !strings.Contains(text, w) }) {
			out = append(out, text)
		}
	}
	return out
}

func TestAdministrator(t *testing.T) {
	res := poll(t, newReplay(t, ""))
	if len(res.Partial) > 0 {
		t.Errorf("partial: %v", res.Partial)
	}
	if d := cmp.Diff(map[string]int{"cloud": 1, "hypervisor": 6, "instance": 21}, kinds(res)); d != "" {
		t.Error(d)
	}
	want := collector.Fact{
		Kind: "instance", Key: "16430209-ef54-42ec-9a7b-08350fb69960", Name: "db-08",
		Fields: map[string]string{
			"status": "SHUTOFF", "vm_state": "stopped", "power_state": "SHUTDOWN", "project": "bebbfcd32e4040f98f7ae2d836274612", "flavor": "m1.tiny",
			"host": "rack1-node3", "host_state": "up", "availability_zone": "az-rack1",
			"addresses": "10.0.20.139, 2001:db8:20:0:f816:3eff:fed2:fb32", "created": "2026-11-22T11:39:52Z",
		},
		Relations: []collector.Relation{{Type: "member-of", Kind: "cloud", Key: "zed"}, {Type: "runs-on", Kind: "hypervisor", Key: "zed/rack1-node3"}},
		Binding:   map[string]string{"job": "openstack", "instance": "zed", "id": "16430209-ef54-42ec-9a7b-08350fb69960"},
	}
	if d := cmp.Diff(want, byName(t, res, "instance", "db-08")); d != "" {
		t.Error(d)
	}
	unscheduled := byName(t, res, "instance", "db-too-big")
	if unscheduled.Fields["status"] != "ERROR" || len(unscheduled.Relations) != 1 || unscheduled.Fields["host_state"] != "" {
		t.Errorf("a server without a host: %+v", unscheduled)
	}
	h := byName(t, res, "hypervisor", "rack1-node2")
	if h.Fields["vcpus"] != "32" || h.Fields["memory_mb"] != "131072" || h.Fields["state"] != "up" || h.Fields["type"] != "fake" {
		t.Errorf("the figures of a hypervisor: %v", h.Fields)
	}
	if v := byName(t, res, "cloud", "zed").Fields; v["view"] != "all projects" || v["microversion"] != "2.87" {
		t.Errorf("cloud: %v", v)
	}
}

func TestMetricsAsOpenstackExporter(t *testing.T) {
	res := poll(t, newReplay(t, ""))
	f := func(name string, count int, with ...string) {
		t.Helper()
		if got := series(res, name, with...); len(got) != count {
			t.Errorf("%s with %v: %d series, want %d: %s", name, with, len(got), count, strings.Join(got, "\n"))
		}
	}
	f("openstack_nova_up", 1, `instance="zed"`, `job="openstack"`, "} 1")
	f("openstack_nova_server_status", 21)
	f("openstack_nova_server_status", 14, `status="ACTIVE"`, "} 0")
	f("openstack_nova_server_status", 3, `status="SHUTOFF"`, "} 11")
	f("openstack_nova_server_status", 2, `status="ERROR"`, "} 4")
	f("openstack_nova_server_status", 1, `name="db-08"`, `hypervisor_hostname="rack1-node3"`, `tenant_id="bebbfcd32e4040f98f7ae2d836274612"`,
		`id="16430209-ef54-42ec-9a7b-08350fb69960"`, `uuid="16430209-ef54-42ec-9a7b-08350fb69960"`, `instance_libvirt="instance-00000014"`, `flavor_id="m1.tiny"`)
	f("openstack_nova_total_vms", 1, "} 21")
	f("openstack_nova_agent_state", 6, `service="nova-compute"`)
	f("openstack_nova_agent_state", 5, `service="nova-compute"`, `adminState="enabled"`)
	f("openstack_nova_agent_state", 1, `hostname="rack1-node2"`, `service="nova-compute"`, `zone="az-rack1"`, "} 1")
	f("openstack_nova_vcpus_available", 1, `hostname="rack1-node2"`, "} 32")
	f("openstack_nova_vcpus_used", 1, `hostname="rack1-node2"`, `availability_zone="az-rack1"`, "} 3")
	f("openstack_nova_memory_used_bytes", 1, `hostname="rack1-node2"`, fmt.Sprintf("} %v", float64(5120<<20)))
	f("openstack_nova_running_vms", 6)
	known := map[string]bool{}
	for _, s := range res.Samples {
		if known[s.Labels.String()] {
			t.Errorf("twice: %s", s.Labels)
		}
		known[s.Labels.String()] = true
	}
}

// TestPartialView: who may not see all says so, and keeps what it may see.
func TestPartialView(t *testing.T) {
	for _, as := range []string{"@reader", "@web"} {
		res := poll(t, newReplay(t, as))
		if d := cmp.Diff(map[string]int{"cloud": 1, "instance": 12}, kinds(res)); d != "" {
			t.Errorf("%s: %s", as, d)
		}
		if len(res.Partial) > 0 {
			t.Errorf("%s: nothing failed, and %v was not seen", as, res.Partial)
		}
		text := errors.Join(res.Limited...).Error()
		for _, want := range []string{
			"partial view: list the hypervisors: the cloud does not allow this", "partial view: list the compute services: ",
			"partial view: the credential sees the servers of its own project only",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in %q", as, want, text)
			}
		}
		if got := series(res, "openstack_nova_up", "} 1"); len(got) != 1 {
			t.Errorf("%s: nova is not up", as)
		}
		for _, never := range []string{"openstack_nova_total_vms", "openstack_nova_agent_state", "openstack_nova_running_vms"} {
			if got := series(res, never); len(got) > 0 {
				t.Errorf("%s: %v of what is not seen", as, got)
			}
		}
		if f := byName(t, res, "instance", "web-09").Fields; f["host_state"] != "unknown" || f["status"] != "ERROR" {
			t.Errorf("%s: %v", as, f)
		}
	}
}

// TestDeadHost: Nova leaves the servers of a dead host ACTIVE.
func TestDeadHost(t *testing.T) {
	r := newReplay(t, "")
	const key = "2.87 GET /os-services"
	a := r.answers[key]
	var doc struct {
		Services []map[string]any `json:"services"`
	}
	if err := json.Unmarshal(a.Body, &doc); err != nil {
		t.Fatal(err)
	}
	for _, s := range doc.Services {
		if s["host"] == "rack2-node3" {
			s["state"] = "down"
		}
	}
	a.Body, _ = json.Marshal(doc)
	r.answers[key] = a
	res := poll(t, r)
	f := byName(t, res, "instance", "web-01").Fields
	if f["host"] != "rack2-node3" || f["status"] != "ACTIVE" || f["host_state"] != "down" {
		t.Errorf("got %v", f)
	}
	if got := series(res, "openstack_nova_agent_state", `hostname="rack2-node3"`, "} 0"); len(got) != 1 {
		t.Errorf("agent state: %v", got)
	}
}

func TestPages(t *testing.T) {
	r := newReplay(t, "")
	r.paged = true
	res := poll(t, r)
	if n := kinds(res)["instance"]; n != 21 || r.asked["/servers/detail"] != 3 {
		t.Errorf("%d servers in %d pages", n, r.asked["/servers/detail"])
	}
	if f := byName(t, res, "instance", "db-08").Fields["flavor"]; f != "1" {
		t.Errorf("flavor %q of an old Nova", f)
	}
	r = newReplay(t, "")
	r.paged, r.circling = true, true
	res = poll(t, r)
	if text := errors.Join(res.Partial...); text == nil || !strings.Contains(text.Error(), "list the servers: after 10 rows the pages go in a circle") {
		t.Errorf("got %v", text)
	}
}

func TestWrongPassword(t *testing.T) {
	r := newReplay(t, "")
	s, target := r.source("very-wrong")
	_, err := s.Poll(t.Context(), target)
	if !errors.Is(err, cloudconn.ErrCredential) || !strings.Contains(err.Error(), "as ada: the cloud refuses the credential") || strings.Contains(err.Error(), "very-wrong") {
		t.Errorf("got %v", err)
	}
	target.Credential = "other"
	if _, err := s.Poll(t.Context(), target); err == nil || !strings.Contains(err.Error(), "credential other: no such credential") {
		t.Errorf("got %v", err)
	}
}

func TestNovaIsDown(t *testing.T) {
	r := newReplay(t, "")
	for _, path := range []string{"/servers/detail", "/os-hypervisors/detail", "/os-services"} {
		r.broken[path] = 500
	}
	res := poll(t, r)
	if len(res.Facts) > 0 || len(res.Partial) != 3 {
		t.Errorf("got %d facts, partial %v", len(res.Facts), res.Partial)
	}
	if got := series(res, "openstack_nova_up", "} 0"); len(got) != 1 {
		t.Error("nova is up")
	}
	if text := res.Partial[0].Error(); !strings.Contains(text, "the cloud answers 500 Internal Server Error: Unexpected API Error.") {
		t.Error(text)
	}

	r = newReplay(t, "")
	r.broken["/os-hypervisors/detail"] = 503
	res = poll(t, r)
	if d := cmp.Diff(map[string]int{"cloud": 1, "instance": 21}, kinds(res)); d != "" || len(res.Partial) != 1 {
		t.Errorf("one list fails: %s %v", d, res.Partial)
	}

	r = newReplay(t, "")
	r.noCloud = true
	res = poll(t, r)
	if len(res.Partial) != 1 || !errors.Is(res.Partial[0], cloudconn.ErrNoEndpoint) || len(series(res, "openstack_nova_up", "} 0")) != 1 {
		t.Errorf("no endpoint: %v", res.Partial)
	}

	r = newReplay(t, "")
	s, target := r.source("right")
	r.server.Close()
	if _, err := s.Poll(t.Context(), target); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("keystone is down: %v", err)
	}
}

// TestTokenExpires: many polls at once notice that the token has expired; one
// logs in anew, and none fails.
func TestTokenExpires(t *testing.T) {
	r := newReplay(t, "")
	s, target := r.source("right")
	if _, err := s.Poll(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		r.expire()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				mine := target
				mine.Name = fmt.Sprint("zed-", i)
				res, err := s.Poll(t.Context(), mine)
				if err != nil || len(res.Partial) > 0 || len(res.Facts) != 28 {
					t.Errorf("round %d: %d facts, partial %v, error %v", round, len(res.Facts), res.Partial, err)
				}
			})
		}
		wg.Wait()
		if r.logins != round+2 {
			t.Fatalf("%d logins after %d expiries", r.logins, round+1)
		}
	}
}

// TestExpiresForGood: the password changed while the token lived, or Keystone
// breaks off.
func TestExpiresForGood(t *testing.T) {
	r := newReplay(t, "")
	s, target := r.source("right")
	if _, err := s.Poll(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	r.expire()
	r.set(func() { r.refuse = true })
	if _, err := s.Poll(t.Context(), target); !errors.Is(err, cloudconn.ErrCredential) {
		t.Errorf("the password changed: %v", err)
	}
	r.set(func() { r.refuse, r.abort = false, true })
	res, err := s.Poll(t.Context(), target)
	if err != nil || len(res.Partial) != 3 || len(series(res, "openstack_nova_up", "} 0")) != 1 {
		t.Errorf("Keystone breaks off: partial %v, error %v", res.Partial, err)
	}
	r.set(func() { r.abort = false })
	if res, err := s.Poll(t.Context(), target); err != nil || len(res.Partial) > 0 {
		t.Errorf("Keystone is back: partial %v, error %v", res.Partial, err)
	}
}

func TestAddresses(t *testing.T) {
	in := map[string]any{"b": []any{map[string]any{"addr": "10.0.0.2"}, map[string]any{"addr": "10.0.0.1"}}, "a": []any{map[string]any{"addr": "::1"}}, "odd": "x"}
	if got := addresses(maps.Clone(in)); got != "::1, 10.0.0.1, 10.0.0.2" {
		t.Errorf("got %q", got)
	}
}
