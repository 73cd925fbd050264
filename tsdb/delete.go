package tsdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
)

// ErrElsewhere says that the samples are another store's, which a deletion here
// does not reach.
var ErrElsewhere = errors.New("the history is kept by a remote store, which a deletion here does not reach: delete it there")

// Delete deletes the samples between from and to, both included, of the series
// that all matchers match: raw ones, and every bucket that holds any of them.
// Once it returns they stay deleted, also after a power cut. What it frees on
// disk is freed within the hour, or by CleanTombstones. With an error, a part
// may be deleted; to delete again is right then. It waits for a rollup under
// way, at most until ctx ends. Errors: ErrReadOnly, ErrElsewhere.
func (db *DB) Delete(ctx context.Context, matchers []*labels.Matcher, from, to time.Time) error {
	if len(matchers) == 0 {
		return errors.New("delete samples: no matcher says which")
	}
	return db.change(ctx, "delete samples", func() error {
		return db.delete(ctx, intersectingFirst(matchers), timestamp.FromTime(from), timestamp.FromTime(to))
	})
}

// CleanTombstones writes all blocks anew that something was deleted from. When
// all of the newest is deleted it stays until there is a newer one. It waits
// and fails as Delete does.
func (db *DB) CleanTombstones(ctx context.Context) error {
	return db.change(ctx, "clean tombstones", func() error { return db.tiers.clean(ctx) })
}

// change does something to what is stored while no rollup is written.
func (db *DB) change(ctx context.Context, what string, do func() error) error {
	if db.remote != nil {
		return fmt.Errorf("%s: %w", what, ErrElsewhere)
	}
	if err := db.readOnly(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := db.tiers.writing.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("%s: wait for a rollup: %w", what, err)
	}
	defer db.tiers.writing.Release(1)
	err := do()
	if errors.Is(err, errReopening) {
		err = fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// delete needs writing.
func (db *DB) delete(ctx context.Context, ms []*labels.Matcher, mint, maxt int64) error {
	// The library's head deletes only what came in order; what came late and is
	// in no block yet would come back with the block.
	if err := db.inner.CompactOOOHead(ctx); err != nil {
		return fmt.Errorf("write what came late as blocks: %w", err)
	}
	if err := markMapped(db.options.Dir); err != nil {
		return err
	}
	if err := db.inner.Delete(ctx, mint, maxt, ms...); err != nil {
		return err
	}
	for _, tier := range db.tiers.list {
		if err := tier.Delete(ctx, mint, maxt, ms...); err != nil {
			return err
		}
	}
	db.logs.wrote()
	return db.logs.synced(ctx)
}

// clean needs writing.
func (t *tiers) clean(ctx context.Context) error {
	if err := t.raw.Load().CleanTombstones(); err != nil && !errors.Is(err, errKeepsCutoff) {
		return fmt.Errorf("clean raw blocks: %w", err)
	}
	for _, tier := range t.list {
		if err := tier.CleanTombstones(ctx); err != nil {
			return err
		}
	}
	return nil
}

// intersectingFirst returns the matchers in the order that the library's
// PostingsForMatchers sorts them into, in place and in every block at once,
// all of which share the slice: while one swaps, another may see a matcher
// twice and miss another, and delete from series that nobody named
// (https://github.com/prometheus/prometheus/pull/19689). In order, nothing is
// swapped.
func intersectingFirst(ms []*labels.Matcher) []*labels.Matcher {
	set := map[string]bool{} // labels that a series must have
	for _, m := range ms {
		set[m.Name] = set[m.Name] || !m.Matches("")
	}
	subtracts := func(m *labels.Matcher) int {
		inverse := m.Type == labels.MatchNotEqual || m.Type == labels.MatchNotRegexp
		if !set[m.Name] || inverse && m.Matches("") {
			return 1
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(ms), func(a, b *labels.Matcher) int { return subtracts(a) - subtracts(b) })
}
