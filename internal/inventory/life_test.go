package inventory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
)

func targets(rels []Relation) []string {
	var out []string
	for _, r := range rels {
		out = append(out, r.Type+" "+r.To)
	}
	return out
}

// TestMigration: an instance runs on one hypervisor at a time; what a partial
// observation does not repeat stays, unless it says otherwise.
func TestMigration(t *testing.T) {
	g := newGraph(t)
	vm := func(rels ...FactRelation) Fact {
		return Fact{Kind: "instance", Key: "u1", Name: "web", Relations: rels}
	}
	on := func(h string) FactRelation { return FactRelation{RunsOn, "hypervisor", h} }
	a, b := FactRelation{MemberOf, "cloud", "a"}, FactRelation{MemberOf, "cloud", "b"}
	check := func(step string, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, targets(g.Relations("instance/u1"))); d != "" {
			t.Errorf("%s: %s", step, d)
		}
	}
	observe(t, g, "zed", minute(0), false, vm(on("h1"), a))
	observe(t, g, "zed", minute(1), true, vm(on("h2"), b))
	check("partial", "member-of cloud/a", "member-of cloud/b", "runs-on hypervisor/h2")
	observe(t, g, "zed", minute(2), true, vm())
	check("hidden", "member-of cloud/a", "member-of cloud/b", "runs-on hypervisor/h2")
	observe(t, g, "zed", minute(3), false, vm(on("h2"), b))
	check("complete", "member-of cloud/b", "runs-on hypervisor/h2")
	if d := cmp.Diff([]string{"member-of cloud/a", "runs-on hypervisor/h1"}, targets(g.RelationsAt("instance/u1", minute(0)))); d != "" {
		t.Error(d)
	}
	if got := g.Parents("instance/u1"); len(got) != 0 {
		t.Errorf("parents that nobody knows: %v", got)
	}
}

// TestRunWritesTheLastCheckpoint: LastSeen survives an orderly end.
func TestRunWritesTheLastCheckpoint(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir)
	g, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		observe(t, g, "leaf1", minute(n), false, device("leaf1"))
	}
	observe(t, g, "leaf1", minute(3), true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if g, err = Open(openDB(t, dir)); err != nil {
		t.Fatal(err)
	}
	if got := mustItem(t, g, "device/leaf1").LastSeen; got != minute(2) {
		t.Errorf("last seen %v", got)
	}
}

// TestWriteFails: what is not on disk is not shown.
func TestWriteFails(t *testing.T) {
	db := openDB(t, t.TempDir())
	g, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Observe(t.Context(), Observation{Source: "snmp", Target: "leaf1", At: minute(0), Facts: []Fact{device("leaf1")}}); err == nil {
		t.Error("a closed database took a write")
	}
	if _, err := g.ImportYAML(t.Context(), "inv.yaml", []byte(hall), "person:ada"); err == nil {
		t.Error("a closed database took an import")
	}
	if len(g.Items("")) > 0 {
		t.Error("what was not written is shown")
	}
}

// TestIndexes: indexes that grew by random changes are those that opening builds.
func TestIndexes(t *testing.T) {
	_, r := need.Seed(t)
	for range 10 {
		g := newGraph(t)
		randomGraph(t, g, r)
		for n := range 40 {
			name := fmt.Sprint(r.IntN(6))
			facts := []Fact{device(name, "chassisID", fmt.Sprintf("02:00:00:00:00:0%d", r.IntN(4)))}
			for i := range r.IntN(4) {
				f := iface(name, fmt.Sprint("e", i), "ifIndex", fmt.Sprint(r.IntN(3)))
				if r.IntN(2) == 0 {
					f = hears(f, Neighbour{SysName: fmt.Sprint(r.IntN(8)), PortID: fmt.Sprint("e", r.IntN(4))})
				}
				facts = append(facts, f)
			}
			observe(t, g, name, minute(n+10), r.IntN(3) == 0, facts...)
		}
		checkIndexes(t, g)
	}
}

// TestConcurrent is for the race detector: all that reads beside all that
// writes.
func TestConcurrent(t *testing.T) {
	_, r := need.Seed(t)
	g := newGraph(t)
	randomGraph(t, g, r)
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		writers.Go(func() {
			for n := range 15 {
				name := fmt.Sprint(i)
				facts := []Fact{device(name, "sysDescr", fmt.Sprint(n)), hears(iface(name, "e0"), Neighbour{SysName: fmt.Sprint((i + n) % 4), PortID: "e1"}), iface(name, "e1")}
				observe(t, g, name, minute(n+10), n%3 == 0, facts[:1+n%3]...)
			}
		})
	}
	writers.Go(func() {
		for range 10 {
			importYAML(t, g, hall)
		}
	})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, it := range g.Items("") {
					g.Relations(it.ID)
					g.Parents(it.ID)
					g.Dependents(it.ID)
				}
				g.Links()
				g.Racks()
				g.Unpaired()
				g.Resolve(labels.FromStrings("job", "snmp", "instance", "1", "ifName", "e0"), minute(20))
				if err := g.checkpoint(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	checkIndexes(t, g)
}

// checkIndexes compares the indexes, grown change by change, with those that
// opening builds.
func checkIndexes(t *testing.T, g *Graph) {
	t.Helper()
	fresh, err := load(g.records, g.targets, g.aside)
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{
		"kinds": {g.kinds, fresh.kinds}, "into": {g.into, fresh.into}, "seers": {g.seers, fresh.seers},
		"names": {g.names, fresh.names}, "linked": {g.linked, fresh.linked}, "unpaired": {g.unpaired, fresh.unpaired},
	} {
		if d := cmp.Diff(pair[1], pair[0]); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	for _, it := range g.Items("") {
		all := g.Links()
		want := slices.DeleteFunc(all, func(l Link) bool { return !slices.Contains([]string{l.A, l.B, l.DeviceA, l.DeviceB}, it.ID) })
		if d := cmp.Diff(want, g.LinksOf(it.ID), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("links of %s: %s", it.ID, d)
		}
	}
	if a, b := bindings(g), bindings(fresh); a != b {
		t.Errorf("bindings: %d, after opening %d", a, b)
	}
	var x, y bytes.Buffer
	if g.ExportYAML(&x) != nil || fresh.ExportYAML(&y) != nil || x.String() != y.String() {
		t.Error("the export differs after opening")
	}
}

func bindings(g *Graph) (n int) {
	for _, s := range g.series.shapes {
		for _, b := range s.bound {
			n += len(b)
		}
	}
	return n
}

// TestSays: where the short way says that a fact brings nothing new, the long
// way changes nothing, and the other way round.
func TestSays(t *testing.T) {
	_, r := need.Seed(t)
	random := func() Fact {
		f := Fact{Kind: "instance", Key: "u1", Name: []string{"", "a", "b"}[r.IntN(3)], Fields: map[string]string{}}
		for _, name := range []string{"x", "y"} {
			if r.IntN(3) > 0 {
				f.Fields[name] = fmt.Sprint(r.IntN(2))
			}
		}
		for _, rel := range []FactRelation{{RunsOn, "hypervisor", "h1"}, {RunsOn, "hypervisor", "h2"}, {MemberOf, "cloud", "c"}} {
			if r.IntN(2) == 0 {
				f.Relations = append(f.Relations, rel)
			}
		}
		if r.IntN(3) > 0 {
			f.Binding = map[string]string{"id": fmt.Sprint(r.IntN(2))}
		}
		if r.IntN(3) == 0 {
			f.Neighbour = &Neighbour{SysName: fmt.Sprint(r.IntN(2))}
		}
		return f
	}
	g := newGraph(t)
	short := 0
	for n := range 1000 {
		o := Observation{Source: []string{"snmp", "linux"}[r.IntN(2)], Target: "t", At: minute(n), Partial: r.IntN(2) == 0}
		f := random()
		if n > 0 && r.IntN(3) == 0 { // the same again
			if err := g.Observe(t.Context(), Observation{Source: o.Source, Target: o.Target, At: o.At, Facts: []Fact{f}}); err != nil {
				t.Fatal(err)
			}
		}
		if node := g.nodes["instance/u1"]; node != nil {
			long := g.edit(o.At)
			long.observe(o, o.Source+"/t", "instance/u1", f)
			says, same := node.rec.says(o, o.Source+"/t", f), node.rec.same(long.changed["instance/u1"])
			if says && !same || same && !says && !odd(o, f) {
				t.Fatalf("step %d: says %v, same %v: %+v of %+v", n, says, same, f, node.rec)
			}
			if says {
				short++
			}
		}
		o.Facts = []Fact{f}
		if err := g.Observe(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the short way in %d of 1000", short)
	if short < 100 {
		t.Error("the short way is hardly ever taken")
	}
}

// odd tells the facts for which the short way may leave it to the long one: a
// partial one of some relations.
func odd(o Observation, f Fact) bool { return o.Partial && len(f.Relations) > 0 }
