package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"nocturne/collector"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/web"
	"nocturne/tsdb"
	"nocturne/tsdb/live"
)

// appendSamples is the collector's way into the history. Each kind of target
// is a source there; all samples of a poll have its job.
func (h *house) appendSamples(ctx context.Context, samples []collector.Sample) error {
	out := make([]tsdb.Sample, len(samples))
	for i, s := range samples {
		out[i] = tsdb.Sample(s)
	}
	if len(samples) == 0 {
		return nil
	}
	_, err := h.history.Source("collector:"+samples[0].Labels.Get("job")).Append(ctx, out)
	return err
}

// observeFacts is the collector's way into the inventory.
func (h *house) observeFacts(ctx context.Context, t collector.Target, at time.Time, res collector.Result) error {
	o := inventory.Observation{
		Source: collector.Job(t.Kind), Target: t.Name, At: at,
		Partial: len(res.Partial) > 0, Limited: len(res.Limited) > 0, Facts: make([]inventory.Fact, len(res.Facts)),
	}
	for i, f := range res.Facts {
		g := inventory.Fact{Kind: f.Kind, Key: f.Key, Formerly: f.Formerly, Name: f.Name, Fields: f.Fields, Binding: f.Binding}
		for _, r := range f.Relations {
			g.Relations = append(g.Relations, inventory.FactRelation(r))
		}
		if f.Neighbour != nil {
			g.Neighbour = new(inventory.Neighbour(*f.Neighbour))
		}
		o.Facts[i] = g
	}
	if err := h.graph.Observe(ctx, o); err != nil {
		return fmt.Errorf("facts of %s: %w", t.Name, err)
	}
	return nil
}

// appendLive keeps the seconds of what a page is watching, of the metrics that
// pages draw.
func (h *house) appendLive(target string, samples []collector.Sample) {
	var points []live.Point
	for _, s := range samples {
		if web.Drawn(s.Labels) {
			points = append(points, live.Point{Labels: s.Labels, T: s.T, V: s.V})
		}
	}
	if err := h.live.Append(target, points); err != nil {
		h.log.Warn("live points", "component", "live", "target", target, "err", err)
	}
}

// runBursts tells the collector each second what pages are watching.
func (h *house) runBursts(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.collector.Burst(h.live.Watched())
		}
	}
}

// audit records what the program itself did.
func (h *house) audit(action, subject string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode %s: %w", action, err)
	}
	_, err = h.ledger.Append(ledger.Entry{Kind: "audit", Actor: "system", Action: action, Subject: subject, Data: b})
	return err
}
