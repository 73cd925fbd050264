package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"nocturne/collector"
	"nocturne/internal/state"
)

// polled is a target that was polled, under job/name.
type polled struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

func (p polled) id() string { return collector.Job(p.Kind) + "/" + p.Name }

// buryTargets says of the targets of the last run that are none any more that
// they are gone, and keeps the names of those of this run. The collector says
// so of a target that is removed while it runs; of one that was taken out of
// the configuration nothing else would, and its alerts would wait for it for
// ever.
func (h *house) buryTargets(ctx context.Context, targets []collector.Target) error {
	known := state.NewTable[polled](h.state, "collector.target", 1)
	fresh := map[string]polled{}
	for _, t := range targets {
		p := polled{Name: t.Name, Kind: t.Kind}
		fresh[p.id()] = p
	}
	var gone []polled
	for rec, err := range known.All("") {
		if err != nil {
			return fmt.Errorf("read the targets of the last run: %w", err)
		}
		if _, still := fresh[rec.ID]; !still {
			gone = append(gone, rec.Value)
		}
		delete(fresh, rec.ID)
	}
	for _, p := range gone {
		if err := h.appendSamples(ctx, collector.Ended(p.Kind, p.Name, time.Now().UnixMilli())); err != nil {
			// It stays known, so that the next start says it.
			h.log.Error("a target that is no more is not marked so", "component", "nocturne", "target", p.Name, "err", err)
			continue
		}
		if err := known.Delete(p.id(), 0); err != nil && !errors.Is(err, state.ErrNotFound) && !errors.Is(err, state.ErrReadOnly) {
			return fmt.Errorf("forget target %s: %w", p.Name, err)
		}
	}
	var recs []state.Record[polled]
	for _, id := range slices.Sorted(maps.Keys(fresh)) {
		recs = append(recs, state.Record[polled]{ID: id, Value: fresh[id]})
	}
	if err := known.PutMany(recs); errors.Is(err, state.ErrReadOnly) {
		h.log.Error("the targets of this run are not kept: one that goes before the next start is not marked so", "component", "nocturne", "err", err)
	} else if err != nil {
		return fmt.Errorf("keep the targets of this run: %w", err)
	}
	return nil
}
