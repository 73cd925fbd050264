package automation_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"nocturne/automation"
)

// gauge keeps how many are inside, and the most that ever were.
type gauge struct {
	mu        sync.Mutex
	now, high map[string]int
}

func (g *gauge) enter(keys ...string) (leave func()) {
	g.add(1, keys)
	return func() { g.add(-1, keys) }
}

func (g *gauge) add(n int, keys []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now == nil {
		g.now, g.high = map[string]int{}, map[string]int{}
	}
	for _, k := range keys {
		g.now[k] += n
		g.high[k] = max(g.high[k], g.now[k])
	}
}

const oneStep = "name: one\nsteps: [{name: s, shell: act}]\n"

// TestDeadRegionStarvesNobody runs 60 hosts of a healthy region beside 60 of
// one, submitted first, whose connects hang for as long as a healthy host
// waits: in one queue none would ever have its turn. How fast the machine is
// does not matter. The bounds are watched from inside the runner.
func TestDeadRegionStarvesNobody(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	g := &gauge{}
	hanging, over := make(chan struct{}, 1000), make(chan struct{})
	r := &fakeRunner{journal: &journal{},
		connect: func(ctx context.Context, host, _ string) error {
			if host[0] != 'd' {
				return nil
			}
			defer g.enter("all", "dead", host)()
			hanging <- struct{}{}
			select {
			case <-over:
			case <-ctx.Done():
			}
			return &runErr{text: "timeout"}
		},
		act: func(_ context.Context, host, _ string, _ io.Writer) (int, error) {
			defer g.enter("all", "well", host)()
			return 0, nil
		}}
	o := options(t, db, r, oneStep)
	o.Regions = []automation.Region{
		{Name: "dead", Prefixes: []netip.Prefix{netip.MustParsePrefix("127.2.0.0/16")}, Slots: 8},
		{Name: "well", Prefixes: []netip.Prefix{netip.MustParsePrefix("127.1.0.0/16")}, Slots: 6},
	}
	o.GlobalSlots, o.BreakAfter = 9, 1000
	x, stop := started(t, o)
	defer stop()
	names := func(kind string, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint(kind, i))
		}
		return out
	}
	submit(t, x, automation.Spec{ID: "dead", Runbook: "one", Hosts: names("d", 60)})
	for range 7 { // all that two other regions' reserves leave
		<-hanging
	}
	submit(t, x, automation.Spec{ID: "well", Runbook: "one", Hosts: names("h", 60)})
	if j := await(t, x, "well"); j.Phase != automation.JobSucceeded {
		t.Errorf("healthy job %s: %s", j.Phase, j.Reason)
	}
	close(over)
	if j := await(t, x, "dead"); j.Phase != automation.JobFailed {
		t.Errorf("dead job %s", j.Phase)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t.Logf("most at once: all %d, dead %d, well %d", g.high["all"], g.high["dead"], g.high["well"])
	if g.high["all"] > 9 || g.high["dead"] > 8 || g.high["well"] > 6 || g.high["dead"] < 7 {
		t.Errorf("bounds: %v", g.high)
	}
}

// TestOneJobAtATimeOnAHost submits many jobs for few hosts.
func TestOneJobAtATimeOnAHost(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	g := &gauge{}
	r := &fakeRunner{journal: &journal{}, act: func(_ context.Context, host, _ string, _ io.Writer) (int, error) {
		defer g.enter(host)()
		for range 200 {
			runtime.Gosched() // let another one in, if it may
		}
		return 0, nil
	}}
	x, stop := started(t, options(t, db, r, oneStep))
	defer stop()
	for i := range 8 {
		submit(t, x, automation.Spec{ID: fmt.Sprint("j", i), Runbook: "one", Hosts: []string{"h0", "h1", "h2"}})
	}
	for i := range 8 {
		await(t, x, fmt.Sprint("j", i))
	}
	for host, n := range g.high {
		if n != 1 {
			t.Errorf("%d commands at once on %s", n, host)
		}
	}
	jobs := x.Jobs(3)
	if len(jobs) != 3 || jobs[0].ID != "j7" {
		t.Errorf("newest jobs: %v", jobs)
	}
}

// TestSlowWatcherIsTold lets a reader fall behind.
func TestSlowWatcherIsTold(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	r := &fakeRunner{journal: &journal{}, act: func(_ context.Context, _, _ string, out io.Writer) (int, error) {
		for i := range 1000 {
			fmt.Fprintln(out, i)
		}
		return 0, nil
	}}
	x, stop := started(t, options(t, db, r, oneStep))
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	events := x.Watch(ctx, "a")
	submit(t, x, automation.Spec{ID: "a", Runbook: "one", Hosts: []string{"h1"}})
	await(t, x, "a")
	cancel()
	lines, resync := 0, 0
	for e := range events {
		if e.Line != nil {
			lines++
		}
		if e.Resync {
			resync++
		}
	}
	if lines == 0 || lines >= 1000 || resync != 1 {
		t.Errorf("%d lines, told %d times", lines, resync)
	}
}
