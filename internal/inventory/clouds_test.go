package inventory

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
)

// sees has a target of OpenStack show facts.
func sees(t *testing.T, g *Graph, target string, at time.Time, limited bool, facts ...Fact) {
	t.Helper()
	if err := g.Observe(t.Context(), Observation{Source: "openstack", Target: target, At: at, Limited: limited, Facts: facts}); err != nil {
		t.Fatal(err)
	}
}

// hypervisorOf is a fact as the collector makes it; before is one as it made
// it when names were thought to be unique.
func hypervisorOf(cloud, name string) Fact {
	return Fact{
		Kind: "hypervisor", Key: cloud + "/" + name, Formerly: name, Name: name, Fields: pairs([]string{"host", name}),
		Relations: []FactRelation{{MemberOf, "cloud", cloud}},
		Binding:   map[string]string{"job": "openstack", "instance": cloud, "hostname": name},
	}
}

func before(f Fact) Fact {
	f.Key, f.Formerly = f.Name, ""
	return f
}

func vm(cloud, id, on string, fields ...string) Fact {
	f := Fact{
		Kind: "instance", Key: id, Name: id, Fields: pairs(fields), Relations: []FactRelation{{MemberOf, "cloud", cloud}},
		Binding: map[string]string{"job": "openstack", "instance": cloud, "id": id},
	}
	if on != "" {
		f.Relations = append(f.Relations, FactRelation{RunsOn, "hypervisor", on})
	}
	return f
}

func (g *Graph) resolved(t *testing.T, at time.Time, kv ...string) string {
	t.Helper()
	id, _ := g.Resolve(labels.FromStrings(kv...), at)
	return id
}

// TestTwoCloudsChooseTheSameName: each has its hypervisor node-1. Nothing of
// one changes with a poll of the other.
func TestTwoCloudsChooseTheSameName(t *testing.T) {
	g := newGraph(t)
	poll := func(n int) {
		for _, cloud := range []string{"east", "west"} {
			sees(t, g, cloud, minute(n), false, hypervisorOf(cloud, "node-1"), vm(cloud, "u-"+cloud, cloud+"/node-1"))
		}
	}
	poll(0)
	rev := g.Rev()
	poll(1)
	if g.Rev() != rev {
		t.Error("the second round, of the same, changed the graph")
	}
	for _, cloud := range []string{"east", "west"} {
		id := "hypervisor/" + cloud + "/node-1"
		if it := mustItem(t, g, id); it.Name != "node-1" || it.Missing {
			t.Errorf("%+v", it)
		}
		if got := g.resolved(t, minute(1), "job", "openstack", "instance", cloud, "hostname", "node-1"); got != id {
			t.Errorf("series of %s are of %s", cloud, got)
		}
		if got := g.Dependents(id); !slices.Equal(got, []string{"instance/u-" + cloud}) {
			t.Errorf("on %s hangs %v", id, got)
		}
	}
}

// TestHypervisorIsRenamed: an inventory of before, with what a person said, a
// relation to it and two clouds that shared it. The first cloud that is polled
// keeps the history; nothing is left behind, over a restart neither.
func TestHypervisorIsRenamed(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir)
	g, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	importYAML(t, g, "items:\n- {id: hypervisor/node-1, fields: {owner: ada}}\n- {id: hypervisor/west/node-2, fields: {owner: bob}}\n"+
		"applications:\n- {name: shop, depends_on: [hypervisor/node-1]}\n")
	for n, cloud := range []string{"east", "west"} {
		sees(t, g, cloud, minute(n), false, before(hypervisorOf(cloud, "node-1")), vm(cloud, "u-"+cloud, "node-1"))
	}
	sees(t, g, "west", minute(2), false, before(hypervisorOf("west", "node-1")), before(hypervisorOf("west", "node-2")), vm("west", "u-west", "node-1"))
	past := g.Bindings("hypervisor/node-1")
	if len(past) < 2 {
		t.Fatalf("bindings %+v", past)
	}
	for n := 10; n < 12; n++ {
		sees(t, g, "east", minute(n), false, hypervisorOf("east", "node-1"), vm("east", "u-east", "east/node-1"))
		sees(t, g, "west", minute(n), false, hypervisorOf("west", "node-1"), hypervisorOf("west", "node-2"), vm("west", "u-west", "west/node-1"))
	}
	check := func(g *Graph) {
		t.Helper()
		var ids []string
		for _, it := range g.Items("hypervisor") {
			ids = append(ids, it.ID)
			if it.Missing {
				t.Errorf("%s is missing", it.ID)
			}
		}
		if d := cmp.Diff([]string{"hypervisor/east/node-1", "hypervisor/west/node-1", "hypervisor/west/node-2"}, ids); d != "" {
			t.Error(d)
		}
		if it := mustItem(t, g, "hypervisor/east/node-1"); it.FirstSeen != minute(0) || it.Value("owner") != "ada" {
			t.Errorf("the history is lost: %+v", it)
		}
		if it := mustItem(t, g, "hypervisor/west/node-2"); it.FirstSeen != minute(2) || it.Value("owner") != "bob" {
			t.Errorf("what was planned under the new ID, or the history, is lost: %+v", it)
		}
		if d := cmp.Diff([]string{"depends-on hypervisor/east/node-1"}, targets(g.Relations("application/shop"))); d != "" {
			t.Error(d)
		}
		if got := g.resolved(t, minute(0), "job", "openstack", "instance", "east", "hostname", "node-1"); got != "hypervisor/east/node-1" {
			t.Errorf("a sample of before the rename is of %q", got)
		}
		if got := g.resolved(t, minute(11), "job", "openstack", "instance", "west", "hostname", "node-1"); got != "hypervisor/west/node-1" {
			t.Errorf("a sample of west is of %q", got)
		}
		for _, cloud := range []string{"east", "west"} {
			if d := cmp.Diff([]string{"member-of cloud/" + cloud, "runs-on hypervisor/" + cloud + "/node-1"}, targets(g.Relations("instance/u-"+cloud))); d != "" {
				t.Error(d)
			}
		}
		checkIndexes(t, g)
	}
	check(g)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if g, err = Open(openDB(t, dir)); err != nil {
		t.Fatal(err)
	}
	check(g)
}

// TestCrashWithinARename: the new record is written, the old one not removed.
func TestCrashWithinARename(t *testing.T) {
	g := newGraph(t)
	sees(t, g, "east", minute(0), false, before(hypervisorOf("east", "node-1")))
	old, _, err := g.records.Get("hypervisor/node-1")
	if err != nil {
		t.Fatal(err)
	}
	sees(t, g, "east", minute(1), false, hypervisorOf("east", "node-1"))
	if _, err := g.records.Put("hypervisor/node-1", old, 0); err != nil {
		t.Fatal(err)
	}
	if g, err = load(g.records, g.targets, g.aside); err != nil {
		t.Fatal(err)
	}
	sees(t, g, "east", minute(2), false, hypervisorOf("east", "node-1"))
	if n := len(g.Items("hypervisor")); n != 1 {
		t.Fatalf("%d hypervisors", n)
	}
	checkIndexes(t, g)
}

// TestTwoCredentialsOfOneCloud show the same instance, one less of it. The one
// that sees all speaks; polls of either change nothing; series of both are the
// instance's. When the first is gone the other one speaks.
func TestTwoCredentialsOfOneCloud(t *testing.T) {
	g := newGraph(t)
	all := func(n int, status string) {
		sees(t, g, "zed", minute(n), false, hypervisorOf("zed", "node-1"), vm("zed", "u1", "zed/node-1", "status", status, "host_state", "up"))
	}
	own := func(n int, status string) {
		sees(t, g, "a-web", minute(n), true, vm("a-web", "u1", "", "status", status, "host_state", "unknown"))
	}
	own(0, "ACTIVE")
	all(1, "ACTIVE")
	own(2, "ACTIVE")
	rev := g.Rev()
	for n := 3; n < 8; n++ {
		all(n, "ACTIVE")
		own(n, "ACTIVE")
	}
	if g.Rev() != rev {
		t.Error("the same again changed the graph")
	}
	if it := mustItem(t, g, "instance/u1"); it.Value("host_state") != "up" || it.LastSeen != minute(7) {
		t.Errorf("got %+v", it)
	}
	if d := cmp.Diff([]string{"member-of cloud/zed", "runs-on hypervisor/zed/node-1"}, targets(g.Relations("instance/u1"))); d != "" {
		t.Error(d)
	}
	for _, target := range []string{"zed", "a-web"} {
		if got := g.resolved(t, minute(7), "job", "openstack", "instance", target, "id", "u1"); got != "instance/u1" {
			t.Errorf("series of %s are of %q", target, got)
		}
	}
	for n := 8; n < 25; n++ { // zed is no longer polled
		own(n, "ERROR")
	}
	if it := mustItem(t, g, "instance/u1"); it.Value("status") != "ERROR" {
		t.Errorf("nobody speaks for it: %+v", it.Fields)
	}
	all(25, "ACTIVE")
	sees(t, g, "zed", minute(26), false, hypervisorOf("zed", "node-1")) // deleted; a-web has not looked yet
	if mustItem(t, g, "instance/u1").Missing {
		t.Error("missing while the other one sees it")
	}
	if got := g.resolved(t, minute(26), "job", "openstack", "instance", "zed", "id", "u1"); got != "" {
		t.Errorf("series of zed are still of %q", got)
	}
	sees(t, g, "a-web", minute(27), true)
	if !mustItem(t, g, "instance/u1").Missing {
		t.Error("both no longer have it")
	}
}

// TestLimitedObservation: what a limited credential no longer shows is gone;
// where an item leads to is hidden from it, not ended.
func TestLimitedObservation(t *testing.T) {
	g := newGraph(t)
	sees(t, g, "zed", minute(0), false, vm("zed", "u1", "h1", "task_state", "deleting"), vm("zed", "u2", "h1"))
	sees(t, g, "zed", minute(1), true, vm("zed", "u1", ""))
	if !mustItem(t, g, "instance/u2").Missing {
		t.Error("a deleted instance does not go missing")
	}
	if v := mustItem(t, g, "instance/u1").Value("task_state"); v != "" {
		t.Errorf("task_state %q is not said any more", v)
	}
	if d := cmp.Diff([]string{"member-of cloud/zed", "runs-on hypervisor/h1"}, targets(g.Relations("instance/u1"))); d != "" {
		t.Error(d)
	}
	for n := range 3 {
		rev := g.Rev()
		sees(t, g, "zed", minute(2+n), true, vm("zed", "u1", ""))
		if g.Rev() != rev {
			t.Error(fmt.Sprint("the same again changed the graph, time ", n))
		}
	}
}
