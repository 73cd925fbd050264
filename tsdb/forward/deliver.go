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

// send brings one request to its end. Where all of it is thrown away for what
// may be a single sample, its halves are sent, the larger ones first, so that
// what is given up at last is small.
func (r *receiver) send(ctx context.Context, runs []run) error {
	b := budget{left: halvings}
	if r.hopeless.Load() {
		b.left = hopelessHalvings(count(runs))
	}
	for pieces := [][]run{runs}; len(pieces) > 0; pieces = pieces[1:] {
		halves, err := r.sendPiece(ctx, pieces[0], &b)
		if err != nil {
			return err
		}
		// Between series any order will do; one series is sent in its own.
		if len(pieces[0]) > 1 {
			pieces = append(pieces, halves...)
			continue
		}
		for len(halves) > 0 {
			more, err := r.sendPiece(ctx, halves[0], &b)
			if err != nil {
				return err
			}
			halves = append(more, halves[1:]...)
		}
	}
	r.hopeless.Store(b.refused && !b.took)
	return nil
}

// budget is what is left to spend on the halves of a refused request, and what
// came of it.
type budget struct {
	left          int
	took, refused bool
}

// sendPiece sends until there is an answer. It returns the halves that are to
// be sent instead of what was refused.
func (r *receiver) sendPiece(ctx context.Context, runs []run, b *budget) (halves [][]run, err error) {
	n := count(runs)
	for attempt := 0; ; attempt++ {
		protocol := *r.protocol.Load()
		body, err := encode(protocol, runs)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		a := r.client.post(ctx, protocol, attempt, n, body)
		r.figures.answered(a, time.Since(start))
		switch a.verdict {
		case accepted:
			b.took = true
			b.left += 2 // the halving that led here was worth it
			r.accept(n)
			return nil, nil
		case refused:
			return r.refuse(runs, a, b), nil
		case protocol1:
			if r.protocol.CompareAndSwap(r.protocol.Load(), new(Protocol1)) && protocol == Protocol2 {
				r.log.Warn("protocol 1 is spoken from now on", "err", a.err)
			}
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.fault(a.err)
		r.pause(ctx, pauseFor(attempt, a))
		if r.over(ctx) {
			return nil, errors.Join(errStopped, ctx.Err())
		}
	}
}

// refuse gives a piece up, or returns its halves.
func (r *receiver) refuse(runs []run, a answer, b *budget) [][]run {
	one, two, ok := halve(runs)
	if a.partial || !ok || b.left <= 0 {
		b.took, b.refused = b.took || a.written > 0, true
		r.accept(a.written)
		r.giveUp(count(runs)-a.written, a.err)
		return nil
	}
	b.left -= 2
	return [][]run{one, two}
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
