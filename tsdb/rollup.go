package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/prometheus/prometheus/model/timestamp"

	"nocturne/tsdb/rollup"
)

// run keeps the tiers up to date until ctx ends. What fails is tried again.
func (t *tiers) run(ctx context.Context) {
	tick := time.NewTicker(rollUpEvery)
	defer tick.Stop()
	cleaned := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if t.room.check() != nil {
			continue // what a full disk has left is for the log
		}
		err := t.rollUp(ctx, rollUpLeast)
		if time.Since(cleaned) > cleanEvery {
			cleaned = time.Now()
			err = errors.Join(err, t.locked(ctx, t.clean))
		}
		if err != nil && ctx.Err() == nil {
			t.log.Error("rollups are behind; trying again", "err", err)
		}
	}
}

func (t *tiers) locked(ctx context.Context, do func(context.Context) error) error {
	if err := t.writing.Acquire(ctx, 1); err != nil {
		return err
	}
	defer t.writing.Release(1)
	return do(ctx)
}

// sealed is the time up to which all samples are in blocks and none can come
// any more.
func (t *tiers) sealed() int64 {
	raw, late := t.raw.Load(), (t.late + sealSlack).Milliseconds()
	head := raw.Head()
	if head.MinTime() > head.MaxTime() { // empty
		return t.newest(nil) - late - 1
	}
	return min(head.MinTime(), head.MinOOOTime(), head.MaxTime()-late) - 1
}

// rollUp brings all tiers up to date, when there is as much as least to roll
// up, and deletes what is past keeping.
func (t *tiers) rollUp(ctx context.Context, least time.Duration) error {
	var errs []error
	for i, tier := range t.list {
		errs = append(errs, t.rollUpTier(ctx, i, least))
		_, err := tier.Retain(ctx, time.UnixMilli(t.oldest(i)), t.keep[i].Bytes)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// rollUpTier goes on after a piece that fails, for example over a damaged block.
func (t *tiers) rollUpTier(ctx context.Context, i int, least time.Duration) error {
	tier := t.list[i]
	var errs []error
	for _, missing := range t.missing(i) {
		if missing.To-missing.From < least.Milliseconds() {
			continue
		}
		for _, piece := range tier.Pieces(missing) {
			errs = append(errs, t.write(ctx, i, piece))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	for more := true; more; {
		start, err := time.Now(), error(nil)
		if more, err = tier.Merge(ctx); err != nil {
			return errors.Join(append(errs, err)...)
		}
		rest(ctx, start)
	}
	return errors.Join(errs...)
}

// missing lists the whole buckets that are sealed and not yet in tier i.
func (t *tiers) missing(i int) []rollup.Range {
	tier := t.list[i]
	from, sealed := t.rawFrom(), t.sealed()
	if from > sealed {
		return nil
	}
	width := tier.Width().Milliseconds()
	all := rollup.Range{From: tier.Floor(from - 1), To: tier.Floor(sealed)}
	if t.expired(from) && all.From < from-1 {
		all.From += width // the part of it that expired is missing
	}
	all.From = max(all.From, tier.Floor(t.oldest(i)))
	if all.From >= all.To {
		return nil
	}
	return all.Without(t.done(i))
}

// expired says whether there were raw samples before from.
func (t *tiers) expired(from int64) bool {
	for _, tier := range t.list {
		if c := tier.Covered(); len(c) > 0 && c[0].From+tier.Width().Milliseconds() < from {
			return true
		}
	}
	return false
}

// write rolls r up for tier i and then rests as long as that took, to leave
// processors to others.
func (t *tiers) write(ctx context.Context, i int, r rollup.Range) error {
	start := time.Now()
	err := t.writeNow(ctx, i, r)
	if err != nil && ctx.Err() == nil {
		t.mu.Lock()
		t.failed[i][r]++
		t.mu.Unlock()
	}
	rest(ctx, start)
	return cmp.Or(err, ctx.Err())
}

func (t *tiers) writeNow(ctx context.Context, i int, r rollup.Range) error {
	if err := t.writing.Acquire(ctx, 1); err != nil {
		return err
	}
	defer t.writing.Release(1)
	t.mu.Lock()
	write := t.list[i].Write
	if t.failed[i][r] >= readableTries {
		write = t.list[i].WriteReadable
	}
	t.mu.Unlock()
	for tries := 1; ; tries++ {
		err := write(ctx, r, t.raw.Load().Blocks())
		if err == nil {
			break
		}
		// A block that was compacted meanwhile is in the next list no more.
		if tries == 5 || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(r.Without(t.list[i].Covered())) > 0 {
		t.mu.Lock()
		t.empty[i] = append(t.empty[i], r)
		t.mu.Unlock()
	}
	return nil
}

func rest(ctx context.Context, since time.Time) {
	select {
	case <-ctx.Done():
	case <-time.After(min(time.Since(since), 10*time.Second)):
	}
}

// RollupProgress says how much of a Rollup is done.
type RollupProgress struct {
	Tier      string
	Done, All time.Duration // of the tier's time
}

// Rollup rolls up, again where that was done before, what raw samples there
// are between from and to; the newest stay with the raw samples until none can
// come late. Blocks of a tier that reach back to where raw samples have
// expired stay as they are, and are named by the error.
func (db *DB) Rollup(ctx context.Context, from, to time.Time, progress func(RollupProgress)) error {
	var errs []error
	for i := range db.tiers.list {
		errs = append(errs, db.tiers.again(ctx, i, rollup.Range{From: timestamp.FromTime(from) - 1, To: timestamp.FromTime(to)}, progress))
	}
	return errors.Join(errs...)
}

func (t *tiers) again(ctx context.Context, i int, r rollup.Range, progress func(RollupProgress)) error {
	tier := t.list[i]
	rawFrom, sealed := t.rawFrom(), t.sealed()
	if rawFrom > sealed {
		return nil
	}
	whole := rollup.Range{
		From: tier.Floor(max(r.From, rawFrom-1)),
		To:   min(tier.Floor(r.To-1)+tier.Width().Milliseconds(), tier.Floor(sealed)),
	}
	start := whole.From
	var errs []error
	for whole.From < whole.To {
		piece := tier.Pieces(whole)[0]
		all := tier.Written(piece)
		if all.From < rawFrom-1 && t.expired(rawFrom) {
			errs = append(errs, fmt.Errorf("tier %s from %s to %s: its raw samples have expired in part", tier.Name(),
				time.UnixMilli(all.From).UTC().Format(time.RFC3339), time.UnixMilli(all.To).UTC().Format(time.RFC3339)))
		} else if err := t.writeNow(ctx, i, all); err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				return errors.Join(errs...)
			}
		}
		whole.From = max(piece.To, all.To)
		if progress != nil {
			progress(RollupProgress{tier.Name(), msec(min(whole.From, whole.To) - start), msec(whole.To - start)})
		}
	}
	return errors.Join(errs...)
}

func msec(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
