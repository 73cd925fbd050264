package alerting

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"nocturne/internal/need"
)

// oracle is the life of an alert told by brute force: it keeps every sample
// and looks through all of them at every evaluation.
type oracle struct {
	hold, keep time.Duration

	x, up []point

	phase     string
	stale     bool
	activeAt  time.Time
	since     time.Time // samples must be newer to prove that it is over
	falseFrom time.Time // seen to be false since
	log       []string
	staleTurn int // how often it was stale
}

type point struct {
	t time.Time
	v float64 // -1 is a staleness marker
}

const marker = -1

// latest returns the last point within the lookback.
func latest(s []point, now time.Time) (point, bool) {
	for _, p := range slices.Backward(s) {
		if !p.t.After(now) {
			return p, now.Sub(p.t) < 5*time.Minute
		}
	}
	return point{}, false
}

func (o *oracle) to(phase string) {
	from := o.phase
	if from == "" {
		from = Inactive
	}
	o.log = append(o.log, fmt.Sprintf("X %s>%s", from, phase))
	o.phase, o.stale, o.falseFrom = phase, false, time.Time{}
	if phase == Resolved {
		o.phase = ""
	}
}

func (o *oracle) eval(now time.Time) {
	x, ok := latest(o.x, now)
	holds := ok && x.v == 1
	if holds {
		if o.phase == "" {
			o.activeAt = now
			o.since = now
			if o.hold > 0 {
				o.to(Pending)
			} else {
				o.to(Firing)
			}
			return
		}
		o.since, o.stale, o.falseFrom = now, false, time.Time{}
		if o.phase == Pending && now.Sub(o.activeAt) >= o.hold {
			o.to(Firing)
		}
		return
	}
	switch o.phase {
	case "":
	case Pending:
		o.to(Resolved)
	case Firing:
		o.unless(now)
	}
}

// unless resolves a firing alert whose condition is not true, unless that was
// not seen.
func (o *oracle) unless(now time.Time) {
	var last, up point
	for _, p := range o.x {
		last = p
	}
	asked := false // the target was asked after the series ended, and answered
	for _, p := range o.up {
		up = p
		asked = asked || p.v == 1 && p.t.After(o.since) && !p.t.Before(last.t)
	}
	switch {
	case last.v != marker && last.t.After(o.since) && now.Sub(last.t) < 5*time.Minute:
	case up.v == marker:
		o.to(Resolved)
		return
	case last.v == marker && up.v == 1 && asked:
	default:
		o.stale = true
		o.staleTurn++
		return
	}
	o.stale = false
	if o.falseFrom.IsZero() {
		o.falseFrom = now
	}
	if now.Sub(o.falseFrom) >= o.keep {
		o.to(Resolved)
	}
}

// timeline is one random life of one target with one series.
func timeline(t *testing.T, r *rand.Rand, hold, keep time.Duration) (o *oracle) {
	rules := fmt.Sprintf("groups: [{name: g, rules: [{alert: X, expr: x == 1, for: %s, keep_firing_for: %s}]}]", hold, keep)
	x := []string{"__name__", "x", "job", "linux", "instance", "a"}
	inBubble(t, rules, nil, func(t *testing.T, h *house) {
		o = &oracle{hold: hold, keep: keep}
		answers, has, bad := true, true, false
		nextPoll := time.Now()
		for range 200 {
			time.Sleep(time.Duration(1+r.IntN(8)) * time.Second)
			now := time.Now().Truncate(time.Millisecond)
			if !now.Before(nextPoll) {
				nextPoll = now.Add(time.Duration(5+r.IntN(15)) * time.Second)
				if r.IntN(40) == 0 {
					nextPoll = now.Add(time.Duration(1+r.IntN(10)) * time.Minute)
				}
				answers = answers != (r.IntN(8) == 0)
				h.poll1(o, r, now, x, answers, &has, &bad)
			}
			if r.IntN(30) == 0 {
				h.restart()
				o.falseFrom = time.Time{}
				if o.phase != "" {
					o.since, o.stale = time.Now(), false
				}
				continue
			}
			h.eval(now)
			o.eval(now)
			h.compare(o)
		}
		if got := h.log(); !slices.Equal(got, o.log) {
			t.Fatalf("transitions\n got %q\nwant %q", got, o.log)
		}
	})
	return o
}

// poll1 stores what one poll at now would.
func (h *house) poll1(o *oracle, r *rand.Rand, now time.Time, x []string, answers bool, has, bad *bool) {
	h.t.Helper()
	add := func(s *[]point, v float64, kv []string) {
		*s = append(*s, point{now, v})
		if v == marker {
			v = staleMarker
		}
		h.put(now, v, kv...)
	}
	kv := up("linux", "a")
	switch {
	case r.IntN(40) == 0 && len(o.x) > 0: // the target is removed
		add(&o.up, marker, kv)
		if *has {
			add(&o.x, marker, x)
		}
		*has = false
	case !answers:
		add(&o.up, 0, kv)
	case r.IntN(15) == 0: // it answers in part
		add(&o.up, 1, kv)
	case r.IntN(15) == 0: // the series ends
		add(&o.up, 1, kv)
		if *has && len(o.x) > 0 {
			add(&o.x, marker, x)
		}
		*has = false
	default:
		*has, *bad = true, *bad != (r.IntN(4) == 0)
		v := 0.0
		if *bad {
			v = 1
		}
		add(&o.up, 1, kv)
		add(&o.x, v, x)
	}
}

func (h *house) compare(o *oracle) {
	h.t.Helper()
	phase, stale := "", false
	for _, a := range h.e.Alerts() {
		phase, stale = a.Phase, a.Stale
	}
	if phase != o.phase || stale != o.stale {
		n := len(o.x)
		h.t.Fatalf("at %s: %q stale=%v, the oracle says %q stale=%v\nlog %q\nx %v\nup %v", time.Now(), phase, stale, o.phase, o.stale,
			o.log, o.x[max(0, n-4):], o.up[max(0, len(o.up)-4):])
	}
}

func TestRandomTimelinesAgainstOracle(t *testing.T) {
	seed, _ := need.Seed(t)
	rounds, stale, seen := 20, 0, map[string]int{}
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		hold := time.Duration(r.IntN(4)) * 10 * time.Second
		keep := time.Duration(r.IntN(3)) * 15 * time.Second
		t.Run(fmt.Sprintf("%d for=%s keep=%s", i, hold, keep), func(t *testing.T) {
			o := timeline(t, r, hold, keep)
			stale += o.staleTurn
			for _, tr := range o.log {
				seen[tr]++
			}
		})
	}
	t.Logf("%v, stale %d times", seen, stale)
	if !testing.Short() && (stale == 0 || seen["X firing>resolved"] == 0 || seen["X pending>resolved"] == 0) {
		t.Error("the timelines do not reach what they are to test")
	}
}
