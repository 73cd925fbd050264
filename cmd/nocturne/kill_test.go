package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/automation"
	"nocturne/internal/lab"
	"nocturne/internal/need"
)

// TestMain runs the product instead of the tests where startChild asks for it.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	if dir := os.Getenv(libraryOf); dir != "" {
		os.Exit(bareLibrary(dir))
	}
	if path := os.Getenv(childConfig); path != "" {
		os.Exit(child(path, os.Getenv(childAim)))
	}
	os.Exit(m.Run())
}

// aims are what the rounds try to hit, in turn: the child dies at the nth time
// that a step or a job of an alert comes into that state, and a random moment
// later; an import, a backup or the opening is killed on its way; "" is any moment.
var aims = []string{automation.StepSent, importing, automation.StepLeased, opening, backingUp, automation.JobVerifying, importing, automation.StepConnecting, backingUp, ""}

// opening is the moment before the product answers.
const opening = "opening"

// must is what has to have been hit at the end.
var must = []string{automation.StepLeased, automation.StepConnecting, automation.StepSent, automation.JobVerifying, importing, backingUp, opening}

// extraRounds bounds how long what was not hit is tried again.
const extraRounds = 15

// victim is a service that was made to fail, once in the test.
type victim struct{ host, unit string }

// campaign is the state of the test over all its rounds.
type campaign struct {
	t     *testing.T
	r     *rand.Rand
	lab   *lab.Lab
	hook  *receiver
	dir   string
	pool  []victim // may still fail
	hurt  []victim
	acked *acked
	judge judge
	login cookie
	opens time.Duration // what the last start took
	kills int

	work    *worker
	imports *importer
	backups *keeper
	records *witness
}

// TestKillsLoseNothing kills the product with SIGKILL again and again while it
// ingests and repairs, runs jobs on a fleet with every fault, imports and backs
// up. Hall and fleet live on in this process: their journals are the witness of
// what ran. Rounds: NOCTURNE_KILLS, 10 by default.
func TestKillsLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes of kills: not in short mode")
	}
	rounds := 10
	if s := os.Getenv("NOCTURNE_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("NOCTURNE_KILLS: %v", err)
		}
		rounds = n
	}
	c := newCampaign(t, rounds)
	missing := func() []string {
		return slices.DeleteFunc(slices.Clone(must), func(s string) bool { return c.judge.hit[s] > 0 })
	}
	n := 0
	for ; n < rounds || len(missing()) > 0 && n < rounds+extraRounds; n++ {
		aim := aims[n%len(aims)]
		if n >= rounds {
			aim = missing()[0]
		}
		c.round(n, aim)
	}
	entries, alerts := c.records.count()
	t.Logf("%d rounds, %d kills; %d samples, %d entries of the ledger, %d phases of alerts, %d imports were acknowledged", n, c.kills, c.acked.count(), entries, alerts, c.imports.acked)
	t.Logf("kills by the moment that they hit: %v", c.judge.hit)
	if m := missing(); len(m) > 0 {
		t.Errorf("no kill hit %v in %d rounds", m, n)
	}
	c.end()
}

func newCampaign(t *testing.T, rounds int) *campaign {
	t.Helper()
	seed, r := need.Seed(t)
	hosts := 40 + rounds
	l, err := lab.New(lab.Options{Seed: seed, Racks: 2 + hosts/14, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	c := &campaign{t: t, r: r, lab: l, hook: newReceiver(t), dir: t.TempDir(), acked: newAcked()}
	c.judge = judge{c: c, hit: map[string]int{}, sent: map[string]string{}}
	fork := func() *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }
	c.work = newWorker(t, seed, fork())
	c.imports = &importer{underway: newUnderway(), t: t, r: fork()}
	c.backups = newKeeper(t, fork(), filepath.Join(c.dir, "backups"))
	c.records = newWitness(t)
	writeChildConfig(t, l, c.dir, c.hook.url, c.work.configure, func(cfg *Config) {
		cfg.Backup.To, cfg.Backup.Keep, cfg.Backup.StateEvery = c.backups.dir, keptBackups, model.Duration(10*time.Second)
	})
	for _, h := range l.Hosts() {
		for _, unit := range h.Services {
			c.pool = append(c.pool, victim{h.Name, unit})
		}
	}
	r.Shuffle(len(c.pool), func(i, j int) { c.pool[i], c.pool[j] = c.pool[j], c.pool[i] })
	runLab(t, l)
	return c
}

// hurtSome makes several services die at once, of which at least two in the
// region with one slot, as long as it has any left.
func (c *campaign) hurtSome() {
	c.t.Helper()
	narrow := map[string]bool{}
	for _, h := range c.lab.Hosts() {
		narrow[h.Name] = h.Region == c.lab.Regions()[0].Name
	}
	slices.SortStableFunc(c.pool, func(a, b victim) int {
		if narrow[a.host] == narrow[b.host] {
			return 0
		}
		if narrow[a.host] {
			return -1
		}
		return 1
	})
	wide := slices.IndexFunc(c.pool, func(v victim) bool { return !narrow[v.host] })
	take := func(i int) {
		if i < 0 || i >= len(c.pool) {
			return
		}
		v := c.pool[i]
		c.pool = slices.Delete(c.pool, i, i+1)
		if err := c.lab.StopService(v.host, v.unit); err != nil {
			c.t.Fatal(err)
		}
		c.hurt = append(c.hurt, v)
	}
	for range 1 + c.r.IntN(3) {
		take(wide)
	}
	for range 2 {
		take(0)
	}
}

// round starts the product, has it work, kills it, and looks at what it left.
func (c *campaign) round(n int, aim string) {
	c.t.Helper()
	if aim == opening {
		c.cutOpening(n)
		return
	}
	delay := time.Duration(c.r.Float64() * c.r.Float64() * float64(spread(aim)))
	p := c.start(fmt.Sprintf("%s %d %d", aim, 1+c.r.IntN(3), delay))
	c.acked.holds(c.t, p)
	c.work.fleet.SetFaults(c.work.faults())
	watched := c.acked.watch(p)
	worked := load(p, c.work, c.imports, c.backups, c.records)
	own := false
	switch aim {
	case importing:
		own = p.dies(delay)
		c.imports.hit(c.t, p, c.r.Float64())
	case backingUp:
		own = p.dies(delay)
		c.backups.hit(c.t, p, c.r.Float64())
	case "":
		c.hurtSome()
		own = p.dies(delay)
	default:
		c.hurtSome()
		own = p.dies(40 * time.Second)
	}
	p.kill()
	c.kills++
	watched()
	worked()
	c.t.Logf("round %d: aimed at %q and %v later; by itself: %v", n, aim, delay.Round(time.Microsecond), own)
	for moment, hits := range c.judge.corpse(n) {
		c.judge.hit[moment] += hits
	}
}

// cutOpening kills the product a few times before it answers.
func (c *campaign) cutOpening(n int) {
	c.t.Helper()
	for range 1 + c.r.IntN(3) {
		delay := time.Duration(c.r.Float64() * float64(c.opens))
		answered, err := c.startsFor(delay)
		c.kills++
		if err != nil {
			c.t.Error(err)
		}
		if !answered {
			c.judge.hit[opening]++
		}
		c.t.Logf("round %d: killed %v after the start; it answered already: %v", n, delay.Round(time.Millisecond), answered)
		c.judge.corpse(n) // finds much that the kill before left: it is counted
	}
}

// spread is how long after its aim a child may live.
func spread(aim string) time.Duration {
	switch aim {
	case automation.StepLeased, automation.StepConnecting:
		return 3 * time.Millisecond
	case automation.StepSent:
		return 400 * time.Millisecond
	case automation.JobVerifying:
		return 50 * time.Millisecond
	}
	return 10 * time.Second
}

// end lets the product finish in peace, stops it, and judges everything.
func (c *campaign) end() {
	t := c.t
	p := c.start("")
	c.acked.holds(t, p)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("neither over nor escalated: %v; the last child said:\n%s", c.open(), p.stderr)
		}
	})
	c.work.finish()
	watched, worked := c.acked.watch(p), load(p, c.work, c.records)
	within(2*time.Minute, func() bool { return len(c.open())+len(c.work.open()) == 0 })
	worked()
	watched()
	p.stop()
	c.judge.verdict()
}

// within asks until ok is true or the time is up.
func within(limit time.Duration, ok func() bool) {
	late := time.NewTimer(limit)
	defer late.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late.C:
			return
		case <-tick.C:
		}
	}
}

// open lists the victims of which the webhook was told neither end nor
// escalation.
func (c *campaign) open() []victim {
	over := map[victim]bool{}
	c.hook.any(func(status string, ls, _ map[string]string) bool {
		if ls["alertname"] == "ServiceFailed" && (status == "resolved" || ls["escalation"] == "true") {
			over[victim{ls["instance"], ls["name"]}] = true
		}
		return false
	})
	return slices.DeleteFunc(slices.Clone(c.hurt), func(v victim) bool { return over[v] })
}

// told lists of whom the webhook was told that something fires.
func (c *campaign) told(escalated bool) map[victim]bool {
	out := map[victim]bool{}
	c.hook.any(func(status string, ls, _ map[string]string) bool {
		if ls["alertname"] == "ServiceFailed" && status == "firing" && (!escalated || ls["escalation"] == "true") {
			out[victim{ls["instance"], ls["name"]}] = true
		}
		return false
	})
	return out
}

func (c *campaign) data() string { return filepath.Join(c.dir, "data") }

// starts counts what the hall really began, by victim.
func (c *campaign) starts() map[victim]int {
	out := map[victim]int{}
	for _, v := range c.hurt {
		out[v] = restarts(c.lab, v.host, v.unit)
	}
	return out
}
