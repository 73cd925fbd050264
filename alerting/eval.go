package alerting

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"golang.org/x/sync/errgroup"

	"nocturne/tsdb"
)

var (
	evaluations        = metrics.GetOrCreateCounter(`nocturne_alerting_evaluations_total`)
	evaluationFailures = metrics.GetOrCreateCounter(`nocturne_alerting_evaluation_failures_total`)
	evaluationSeconds  = metrics.GetOrCreateHistogram(`nocturne_alerting_evaluation_duration_seconds`)
	transitionsTotal   = metrics.GetOrCreateCounter(`nocturne_alerting_transitions_total`)
)

// runGroup evaluates a group at its interval, from an offset that its name
// gives it.
func (e *Engine) runGroup(ctx context.Context, g *group) {
	timer := time.NewTimer(offset(g.name, g.interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		if !e.takeTurn(ctx, g, began) {
			return
		}
		timer.Reset(max(0, g.interval-time.Since(began)))
	}
}

// takeTurn evaluates a group, unless it was replaced while it waited.
func (e *Engine) takeTurn(ctx context.Context, g *group, at time.Time) bool {
	e.turn.RLock()
	defer e.turn.RUnlock()
	if !slices.Contains(e.groups, g) {
		return false
	}
	e.evalGroup(ctx, g, at)
	return true
}

// offset spreads the groups; none waits more than a second for its first turn.
func offset(name string, interval time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(name))
	return time.Duration(h.Sum64() % uint64(min(interval, time.Second)))
}

// evalGroup evaluates the rules of a group in their order, all for the time
// ts, within the group's interval.
func (e *Engine) evalGroup(ctx context.Context, g *group, ts time.Time) {
	ctx, cancel := context.WithTimeout(ctx, max(g.interval, time.Second))
	defer cancel()
	ts = ts.UTC().Truncate(time.Millisecond)
	for _, r := range g.rules {
		began := time.Now()
		var err error
		if r.record {
			err = e.evalRecord(ctx, r, ts)
		} else {
			err = e.evalAlert(ctx, r, ts)
		}
		if ctx.Err() != nil && err != nil {
			err = fmt.Errorf("not done within the group's interval: %w", err)
		}
		evaluations.Inc()
		evaluationSeconds.UpdateDuration(began)
		if err != nil {
			evaluationFailures.Inc()
			e.log.Error("rule not evaluated", "group", g.name, "rule", r.name, "err", err)
		}
		e.note(r, ts, time.Since(began), err)
	}
}

func (e *Engine) note(r *rule, ts time.Time, took time.Duration, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.health[r]
	s.Health, s.LastError, s.LastEval, s.Duration = "ok", "", ts, took
	if err != nil {
		s.Health, s.LastError = "err", err.Error()
	}
	e.health[r] = s
}

func (e *Engine) vector(ctx context.Context, query string, ts time.Time) (promql.Vector, error) {
	res, err := e.o.DB.Query(ctx, query, ts)
	if err != nil {
		return nil, err
	}
	switch v := res.Value.(type) {
	case promql.Vector:
		return v, nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V}}, nil
	}
	return nil, fmt.Errorf("query %q: result is neither vector nor scalar", query)
}

func (e *Engine) evalRecord(ctx context.Context, r *rule, ts time.Time) error {
	vec, err := e.vector(ctx, r.query, ts)
	if err != nil {
		return err
	}
	samples := make([]tsdb.Sample, 0, len(vec))
	for _, s := range vec {
		b := labels.NewBuilder(s.Metric).Set(model.MetricNameLabel, r.name)
		for name, v := range r.labels {
			b.Set(name, v)
		}
		samples = append(samples, tsdb.Sample{Labels: b.Labels(), T: ts.UnixMilli(), V: s.F})
	}
	if _, err := e.o.DB.Append(ctx, samples); err != nil {
		return fmt.Errorf("record %s: %w", r.name, err)
	}
	return nil
}

// instance is one element of a rule's result.
type instance struct {
	fingerprint string
	labels      labels.Labels
	series      labels.Labels
	annotations map[string]string
	value       float64
}

// instances turns a rule's result into what is alerted.
func (e *Engine) instances(ctx context.Context, r *rule, ts time.Time) (map[string]instance, error) {
	vec, err := e.vector(ctx, r.query, ts)
	if err != nil {
		return nil, err
	}
	out := make(map[string]instance, len(vec))
	for _, s := range vec {
		x := e.expander(ctx, r, s, ts)
		b := labels.NewBuilder(s.Metric).Del(model.MetricNameLabel)
		series := b.Labels()
		for _, name := range slices.Sorted(maps.Keys(r.labels)) {
			b.Set(name, x.expand(r.labels[name]))
		}
		b.Set(labels.AlertName, r.name)
		in := instance{labels: b.Labels(), series: series, value: s.F, annotations: map[string]string{}}
		for name, text := range r.annotations {
			in.annotations[name] = x.expand(text)
		}
		in.fingerprint = fingerprint(r, in.labels)
		if _, twice := out[in.fingerprint]; twice {
			return nil, fmt.Errorf("two results have the labels %s", in.labels)
		}
		out[in.fingerprint] = in
	}
	return out, nil
}

// change is one transition to be made durable.
type change struct {
	was *tracked // nil for a new episode
	rec record
	to  string
	at  time.Time
	t   tracked // what is tracked afterwards, but for rec
	// again tells that it was tried before, and may be there in part.
	again bool
}

// evalAlert evaluates one rule and carries its alerts on. An alert whose rule
// cannot be evaluated stays what it is, and so does one whose last transition
// the store does not take: another episode of it would be another fault.
func (e *Engine) evalAlert(ctx context.Context, r *rule, ts time.Time) error {
	waiting, unwritten := e.recommit(ctx, r)
	found, err := e.instances(ctx, r, ts)
	if err != nil {
		e.unevaluated(r, err)
		return errors.Join(unwritten, err)
	}
	var changes []change
	have := e.trackedOf(r)
	for fp, c := range waiting {
		have[fp] = &tracked{rec: c.rec}
	}
	seen := match(have, found)
	for _, fp := range slices.Sorted(maps.Keys(have)) {
		if _, ok := waiting[fp]; ok {
			continue
		}
		in, holds := seen[fp]
		c, err := e.carry(ctx, r, have[fp], in, holds, ts)
		if err != nil {
			return errors.Join(unwritten, err)
		}
		if c.to != "" {
			changes = append(changes, c)
		}
	}
	for _, fp := range slices.Sorted(maps.Keys(found)) {
		changes = append(changes, e.newEpisode(r, found[fp], ts))
	}
	return errors.Join(unwritten, e.commitAll(ctx, changes))
}

// recommit completes the transitions of a rule that the store did not take
// whole, and returns those that it still does not.
func (e *Engine) recommit(ctx context.Context, r *rule) (map[string]change, error) {
	of := func() map[string]change {
		e.mu.RLock()
		defer e.mu.RUnlock()
		out := map[string]change{}
		for fp, c := range e.unwritten {
			if c.rec.RuleID == r.id {
				out[fp] = c
			}
		}
		return out
	}
	again := of()
	if len(again) == 0 {
		return nil, nil
	}
	err := e.commitAll(ctx, slices.Collect(maps.Values(again)))
	return of(), err
}

// match takes from found what belongs to each alert of have: what bears its
// fingerprint, else what is of its series. A label that the rule fills in, or
// that a person edited, may have changed: it is the same fault.
func match(have map[string]*tracked, found map[string]instance) map[string]instance {
	out := make(map[string]instance, len(have))
	take := func(fp, as string) {
		out[fp] = found[as]
		delete(found, as)
	}
	for fp := range have {
		if _, ok := found[fp]; ok {
			take(fp, fp)
		}
	}
	if len(found) == 0 || len(out) == len(have) {
		return out
	}
	bySeries := make(map[uint64]string, len(found))
	for _, as := range slices.Sorted(maps.Keys(found)) {
		bySeries[found[as].series.Hash()] = as
	}
	for _, fp := range slices.Sorted(maps.Keys(have)) {
		series := have[fp].rec.Series
		as, ok := bySeries[series.Hash()]
		if in, left := found[as]; ok && left && labels.Equal(in.series, series) {
			if _, matched := out[fp]; !matched {
				take(fp, as)
			}
		}
	}
	return out
}

func (e *Engine) trackedOf(r *rule) map[string]*tracked {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := map[string]*tracked{}
	for fp, t := range e.active {
		if t.rec.RuleID == r.id {
			out[fp] = t
		}
	}
	return out
}

// carry applies one evaluation to one alert. What is no transition is
// installed here; a transition is returned, to be committed first.
func (e *Engine) carry(ctx context.Context, r *rule, t *tracked, in instance, holds bool, ts time.Time) (change, error) {
	o := observation{at: ts, holds: holds}
	t = t.notAfter(ts, r.keep)
	a := t.rec.Alert
	if a.Phase == Firing && !holds {
		var err error
		if o.sight, err = e.look(ctx, r, t.rec.Series, t.rec.TrueAt, t.since, ts); err != nil {
			return change{}, fmt.Errorf("look for the series of %s: %w", a.Labels, err)
		}
	}
	s := r.next(a.Phase, a.ActiveAt, t.keepUntil, o)
	next := tracked{rec: t.rec, since: t.since, keepUntil: s.keepUntil}
	next.rec.Alert.Stale, next.rec.Alert.Reason = s.stale, s.reason
	if holds {
		next.since, next.rec.TrueAt = ts, ts
		next.rec.Alert.Value, next.rec.Alert.Annotations = in.value, in.annotations
		next.rec.Alert.Labels = in.labels
		next.rec.Series = in.series
		if _, there := e.o.Graph.Item(a.Item); a.Item != "" && !there {
			next.rec.Alert.Item = e.itemOf(in, ts) // the inventory has renamed it
		}
	}
	if s.to != "" {
		return change{was: t, rec: next.rec, to: s.to, at: ts, t: next}, nil
	}
	e.install(t, &next)
	return change{}, nil
}

// install replaces what is tracked, and signals what people would see.
func (e *Engine) install(was, next *tracked) {
	e.mu.Lock()
	now := e.active[was.rec.Alert.Fingerprint]
	if now != nil {
		next.rec.Alert.Ack = now.rec.Alert.Ack // a person may have come between
		e.active[was.rec.Alert.Fingerprint] = next
	}
	e.mu.Unlock()
	a, b := was.rec.Alert, next.rec.Alert
	if a.Stale != b.Stale || a.Reason != b.Reason || !sameValue(a.Value, b.Value) || !labels.Equal(a.Labels, b.Labels) {
		e.signal.send()
	}
}

func sameValue(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func (e *Engine) newEpisode(r *rule, in instance, ts time.Time) change {
	a := Alert{
		Fingerprint: in.fingerprint, Episode: episodeID(r.id, in.labels, ts), Rule: r.name, Group: r.group,
		Labels: in.labels, Annotations: in.annotations, Phase: Inactive, ActiveAt: ts, Value: in.value,
	}
	a.Item = e.itemOf(in, ts)
	rec := record{Alert: a, Series: in.series, RuleID: r.id, TrueAt: ts}
	return change{rec: rec, to: r.begin(), at: ts, t: tracked{since: ts}}
}

// itemOf finds what an alert is about.
func (e *Engine) itemOf(in instance, ts time.Time) string {
	item, ok := e.o.Graph.Resolve(in.labels, ts)
	if !ok {
		item, _ = e.o.Graph.Resolve(in.series, ts)
	}
	return item
}

// unevaluated marks the firing alerts of a rule that fails: nobody knows.
func (e *Engine) unevaluated(r *rule, err error) {
	for _, t := range e.trackedOf(r) {
		if t.rec.Alert.Phase != Firing {
			continue
		}
		next := *t
		next.rec.Alert.Stale, next.rec.Alert.Reason = true, "the rule is not evaluated: "+err.Error()
		e.install(t, &next)
	}
}

// commitWorkers commit at once: the store writes what comes together in one go.
const commitWorkers = 16

// commitAll makes changes durable, then shows them. What fails of a rule is
// tried again by its next evaluation.
func (e *Engine) commitAll(ctx context.Context, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(commitWorkers)
	for _, c := range changes {
		g.Go(func() error { return e.commit(c) })
	}
	err := g.Wait()
	e.signal.send()
	return err
}

func (r *rule) status(every time.Duration) RuleStatus {
	return RuleStatus{
		File: r.file, Group: r.group, Name: r.name, Record: r.record, Query: r.query, For: r.hold, Interval: every,
		Labels: maps.Clone(r.labels), Annotations: maps.Clone(r.annotations), KeepFor: r.keep, Health: "unknown",
	}
}
