package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Fault is one entry of the timeline.
type Fault struct {
	After time.Duration // from the timeline's start
	Kind  string        // service, link, silence, heal
	What  string        // for people: what happens and what should follow
	do    func() error
}

// Timeline draws a cycle of faults from the seed and the cycle's number: a
// service that dies, a cable that comes out and goes back in, an agent that
// falls silent. Round 0 is the one that the demo announces.
func (l *Lab) Timeline(round int) []Fault {
	r := rand.New(rand.NewPCG(l.opts.Seed, 0x66617565+uint64(round)))
	var out []Fault
	at := func(d time.Duration, kind, what string, do func() error) {
		out = append(out, Fault{After: d, Kind: kind, What: what, do: do})
	}
	service := func(d time.Duration) {
		h := pick(r, l.hosts)
		unit := pick(r, h.services)
		at(d, "service", fmt.Sprintf("%s dies on %s: an alert fires, a remedy restarts it, the same rule proves it", unit, h.name),
			func() error { return l.StopService(h.name, unit) })
	}
	service(20 * time.Second)
	cable := pick(r, l.fabric())
	at(75*time.Second, "link", fmt.Sprintf("the cable %s %s - %s %s comes out", cable.A, cable.APort, cable.B, cable.BPort),
		func() error { return l.LinkDown(cable.A, cable.APort, true) })
	silent := pick(r, l.agents)
	at(110*time.Second, "silence", fmt.Sprintf("the agent %s stops to answer: it is shown as not seen, not as well", silent.name),
		func() error { return l.SilenceAgent(silent.name, true) })
	at(150*time.Second, "heal", "the cable goes back in", func() error { return l.LinkDown(cable.A, cable.APort, false) })
	service(170 * time.Second)
	at(200*time.Second, "heal", silent.name+" answers again", func() error { return l.SilenceAgent(silent.name, false) })
	return out
}

// Cycle is how long one round of the timeline lasts.
const Cycle = 5 * time.Minute

// fabric returns the cables between agents.
func (l *Lab) fabric() []Link {
	var out []Link
	for _, k := range l.links {
		if _, err := l.agent(k.A); err == nil {
			if _, err := l.agent(k.B); err == nil {
				out = append(out, k)
			}
		}
	}
	return out
}

// Play runs the timeline, round after round, until ctx ends; tell is called
// for each fault as it happens.
func (l *Lab) Play(ctx context.Context, tell func(Fault)) error {
	for round := 0; ; round++ {
		start := time.Now()
		for _, f := range append(l.Timeline(round), Fault{After: Cycle, Kind: "round"}) {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Until(start.Add(f.After))):
			}
			if f.do == nil {
				continue
			}
			if err := f.do(); err != nil {
				return fmt.Errorf("fault %q: %w", f.What, err)
			}
			tell(f)
		}
	}
}
