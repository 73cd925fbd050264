package forward

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shortestPause = 200 * time.Millisecond
	longestPause  = 30 * time.Second
	// halvings bounds how many requests more a refused request may cost beside
	// those that find something good.
	halvings = 128
)

// hopelessHalvings bounds them after a request of which nothing was taken:
// enough to find one good sample, or one bad one, among n.
func hopelessHalvings(n int) int { return 2 * (bits.Len(uint(n)) + 2) }

// deliver sends runs and returns once each sample was accepted, refused or
// dropped by a rule. An error means that the receiver is to stop. It may change
// runs.
func (r *receiver) deliver(ctx context.Context, runs []run, samples int) error {
	if samples == 0 {
		return nil
	}
	runs, dropped := r.labelling.apply(runs)
	r.figures.drop(dropped)
	samples -= dropped
	r.figures.pending.Store(int64(samples))
	defer r.figures.pending.Store(0)
	parts := split(runs, samples, r.to.Shards, r.to.MaxSamples)
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() {
			for len(part) > 0 && errs[i] == nil {
				var head []run
				head, part = cut(part, r.to.MaxSamples)
				errs[i] = r.send(ctx, head)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// send brings one request to its end.
func (r *receiver) send(ctx context.Context, runs []run) error {
	b := budget{left: halvings}
	if r.hopeless.Load() {
		b.left = hopelessHalvings(count(runs))
	}
	err := r.sendWithin(ctx, runs, &b)
	if err == nil {
		r.hopeless.Store(b.refused && !b.took)
	}
	return err
}

// budget is what is left to spend on the halves of a refused request, and what
// came of it.
type budget struct {
	left          int
	took, refused bool
}

func (r *receiver) sendWithin(ctx context.Context, runs []run, b *budget) error {
	n := count(runs)
	for attempt := 0; ; attempt++ {
		protocol := *r.protocol.Load()
		body, err := encode(protocol, runs)
		if err != nil {
			return err
		}
		start := time.Now()
		a := r.client.post(ctx, protocol, attempt, n, body)
		r.figures.answered(a, time.Since(start))
		switch a.verdict {
		case accepted:
			b.took = true
			b.left += 2 // the halving that led here was worth it
			r.accept(n)
			return nil
		case refused:
			return r.refuse(ctx, runs, a, b)
		case protocol1:
			if r.protocol.CompareAndSwap(r.protocol.Load(), new(Protocol1)) && protocol == Protocol2 {
				r.log.Warn("protocol 1 is spoken from now on", "err", a.err)
			}
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.fault(a.err)
		r.pause(ctx, pauseFor(attempt, a))
		if r.over(ctx) {
			return errors.Join(errStopped, ctx.Err())
		}
	}
}

// refuse gives a request up, or sends it in halves where all of it was thrown
// away for what may be a single sample.
func (r *receiver) refuse(ctx context.Context, runs []run, a answer, b *budget) error {
	one, two, ok := halve(runs)
	if a.partial || !ok || b.left <= 0 {
		b.took, b.refused = b.took || a.written > 0, true
		r.accept(a.written)
		r.giveUp(count(runs)-a.written, a.err)
		return nil
	}
	b.left -= 2
	if err := r.sendWithin(ctx, one, b); err != nil {
		return err
	}
	return r.sendWithin(ctx, two, b)
}

// pauseFor grows with the attempts; half of it is chance, so that receivers
// that come back are not met by everybody at once.
func pauseFor(attempt int, a answer) time.Duration {
	d := longestPause
	if a.verdict == later {
		d = min(shortestPause<<min(attempt, 10), longestPause)
	}
	d = d/2 + rand.N(d/2)
	return max(d, a.after)
}

func (r *receiver) accept(n int) {
	r.figures.accept(n)
	if r.figures.well() {
		r.log.Info("the receiver takes samples again")
	}
}

// repeatAfter is how long the same kind of line stays unsaid.
const repeatAfter = time.Minute

// fault notes what keeps samples from being sent, and says it now and then.
func (r *receiver) fault(err error) {
	if r.figures.ill(err) {
		r.log.Warn("samples wait for the receiver", "err", err)
	}
}

func (r *receiver) giveUp(n int, err error) {
	if r.figures.refuse(n, err) {
		r.log.Warn("the receiver refused samples; they are not sent again", "samples", n, "err", fmt.Errorf("last refusal: %w", err))
	}
}

// seldom lets one of many through.
type seldom struct{ last atomic.Int64 }

func (s *seldom) now() bool {
	at := time.Now().UnixNano()
	last := s.last.Load()
	return (last == 0 || at-last >= int64(repeatAfter)) && s.last.CompareAndSwap(last, at)
}
