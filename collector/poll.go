package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime/debug"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// seriesSet holds series by the hash of their labels.
type seriesSet map[uint64]labels.Labels

// poll makes one attempt and stores what came of it.
func (s *Scheduler) poll(run context.Context, a *attempt) {
	res, err := s.call(a)
	a.cancel()
	took := time.Since(a.began)
	if err == nil && took > a.t.Timeout+grace {
		err = fmt.Errorf("answered after %v: %w", took.Round(time.Millisecond), context.DeadlineExceeded)
	}
	if err != nil {
		err = fmt.Errorf("poll %s (%s): %w", a.t.Name, a.t.Address, err)
	}
	if s.unwanted(run, a.e) {
		s.finish(a, func(*entry) {}, fmt.Errorf("poll %s: %w", a.t.Name, ErrStopped))
		return
	}
	stored := s.store(run, a, res, err, took)
	pollDuration(a.t.Kind).Update(took.Seconds())
	polls(a.t.Kind).Inc()
	if err != nil {
		failures(a.t.Kind).Inc()
	}
	s.finish(a, func(e *entry) { e.note(res, err, stored, took) }, errors.Join(err, stored))
}

// call calls the Source once. A panic there is a failed poll of this target.
func (s *Scheduler) call(a *attempt) (res Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("source panicked", "target", a.t.Name, "kind", a.t.Kind, "err", p, "stack", string(debug.Stack()))
			res, err = Result{}, fmt.Errorf("source %s panicked: %v", a.t.Kind, p)
		}
	}()
	return s.o.Sources[a.t.Kind].Poll(a.ctx, a.t)
}

// unwanted reports whether what a poll brought is of no use any more: the
// program ends or the target was removed, and either has cut it off.
func (s *Scheduler) unwanted(run context.Context, e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.removed || run.Err() != nil
}

// store writes the samples and facts of one poll.
func (s *Scheduler) store(run context.Context, a *attempt, res Result, failed error, took time.Duration) error {
	// The poll's own deadline does not hold for storing what it brought.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(run), storeTimeout)
	defer cancel()
	t := s.stamp(a.e, a.began)
	var samples []Sample
	up, series, scope := 0.0, a.e.series, a.e.scope
	if failed == nil {
		up = 1
		samples = stamped(res.Samples, t)
		var gone []Sample
		gone, series, scope = a.e.vanished(samples, res, t)
		samples = append(samples, gone...)
	}
	partial := 0.0
	if failed == nil && len(res.Partial)+len(res.Remains) > 0 {
		partial = 1
	}
	samples = append(samples, own(a.t, "up", t, up), own(a.t, PartialMetric, t, partial),
		own(a.t, "scrape_duration_seconds", t, took.Seconds()))
	if err := s.o.Append(ctx, samples); err != nil {
		a.e.keep(series) // the markers are still to come
		return fmt.Errorf("store samples of %s: %w", a.t.Name, err)
	}
	a.e.series, a.e.scope = series, scope
	if a.burst && s.o.Live != nil {
		s.o.Live(a.t.Name, samples)
	}
	if s.o.Observe != nil && failed == nil && len(res.Facts) > 0 {
		if err := s.o.Observe(ctx, a.t, a.began, res); err != nil {
			return fmt.Errorf("store facts of %s: %w", a.t.Name, err)
		}
	}
	return nil
}

// steppedBack is how far a poll may seem to lie before the last sample until
// the clock counts as having been set back.
const steppedBack = time.Minute

// stamp returns the time of a poll's samples: when it began, yet later than
// any sample of the target before, unless the clock was set back meanwhile:
// samples from the future would be seen by nobody.
func (s *Scheduler) stamp(e *entry, began time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := began.UnixMilli()
	if e.lastT-at < steppedBack.Milliseconds() {
		at = max(at, e.lastT+1)
	}
	e.lastT = at
	return at
}

func stamped(in []Sample, t int64) []Sample {
	out := make([]Sample, len(in), len(in)+3)
	for i, smp := range in {
		if smp.T == 0 {
			smp.T = t
		}
		out[i] = smp
	}
	return out
}

// vanished returns staleness markers for the series that the last complete
// polls had and this one lacks, and the series that are left. A partial poll
// adds series and takes none away. One of another scope than before cannot
// tell what is gone from what it may not see: it takes none away either, and
// those that it lacks are no longer followed.
func (e *entry) vanished(samples []Sample, res Result, t int64) (gone []Sample, left seriesSet, scope string) {
	now := make(seriesSet, max(len(samples), len(e.series)))
	for _, smp := range samples {
		now[smp.Labels.Hash()] = smp.Labels
	}
	partial := len(res.Partial) > 0
	if !partial && res.scope() != e.scope {
		return nil, now, res.scope()
	}
	for h, ls := range e.series {
		if _, ok := now[h]; ok {
			continue
		}
		if partial {
			now[h] = ls
		} else {
			gone = append(gone, stale(ls, t))
		}
	}
	return gone, now, e.scope
}

// keep adds series to those that are known.
func (e *entry) keep(series seriesSet) {
	if e.series == nil {
		e.series = make(seriesSet, len(series))
	}
	maps.Copy(e.series, series)
}

// bury marks all series of a removed target stale.
func (s *Scheduler) bury(run context.Context, e *entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(run), storeTimeout)
	defer cancel()
	t := s.stamp(e, time.Now())
	samples := Ended(e.t.Kind, e.t.Name, t)
	for _, ls := range e.series {
		samples = append(samples, stale(ls, t))
	}
	if err := s.o.Append(ctx, samples); err != nil {
		s.log.Error("staleness markers of a removed target are not stored", "target", e.t.Name, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.old[e.t.Name] == e {
		delete(s.old, e.t.Name)
	}
	if again := s.targets[e.t.Name]; again != nil && again.behind == e {
		again.behind, again.lastT = nil, e.lastT
	}
	s.signal()
}

// reportStuck says that a target is down whose Source ignores its deadline.
// The poll keeps its slot and its target until it does return.
func (s *Scheduler) reportStuck(run context.Context, e *entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(run), storeTimeout)
	defer cancel()
	s.mu.Lock()
	t := e.t
	if !e.running || e.removed {
		s.mu.Unlock()
		return
	}
	now := time.Now()
	e.status.Last, e.status.Duration = now, now.Sub(e.since)
	e.status.Partial = false
	e.status.Err = fmt.Sprintf("poll %s (%s): still running %v after its start, its deadline was %v",
		t.Name, t.Address, now.Sub(e.since).Round(time.Second), t.Timeout)
	s.mu.Unlock()
	if err := s.o.Append(ctx, []Sample{own(t, "up", s.stamp(e, now), 0)}); err != nil {
		s.log.Error("state of a stuck target is not stored", "target", t.Name, "err", err)
	}
}

// finish gives back the slot, notes what happened and answers who waited.
func (s *Scheduler) finish(a *attempt, note func(*entry), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := a.e
	s.slots.release(a.t.Kind, a.doubtful)
	e.running, e.stuck = false, false
	note(e)
	for _, w := range a.waiters {
		w <- err
	}
	if e.removed {
		s.leaving = append(s.leaving, e)
	} else if len(e.waiters) > 0 {
		if s.stopped {
			e.answer(fmt.Errorf("poll %s: %w", e.t.Name, ErrStopped))
		} else {
			s.slots.push(e, true)
		}
	}
	s.signal()
}

// note writes the outcome of a poll into the status.
func (e *entry) note(res Result, failed, stored error, took time.Duration) {
	st := &e.status
	now := time.Now()
	st.Last, st.Duration, st.Err, st.Partial = now, took, "", false
	st.Polls++
	e.doubtful = failed != nil
	switch {
	case failed != nil:
		st.Failures++
		st.Err = failed.Error()
	case stored != nil:
		st.Failures++
		st.Err = stored.Error()
	default:
		st.LastOK = now
		if unseen := res.unseen(); unseen != nil {
			st.Partial = true
			st.Err = fmt.Sprintf("poll %s (%s), in part: %v", e.t.Name, e.t.Address, unseen)
		}
	}
}

// own is a sample that the Scheduler itself writes about a target.
func own(t Target, name string, ms int64, v float64) Sample {
	return Sample{Labels: labels.FromStrings(model.MetricNameLabel, name, "job", Job(t.Kind), "instance", t.Name), T: ms, V: v}
}

// Ended are the staleness markers of what a Scheduler itself writes about a
// target: by them it is gone, and does not just keep silent.
func Ended(kind, name string, ms int64) []Sample {
	var out []Sample
	for _, metric := range []string{"up", PartialMetric, "scrape_duration_seconds"} {
		out = append(out, own(Target{Kind: kind, Name: name}, metric, ms, math.Float64frombits(value.StaleNaN)))
	}
	return out
}

func stale(ls labels.Labels, ms int64) Sample {
	return Sample{Labels: ls, T: ms, V: math.Float64frombits(value.StaleNaN)}
}

func polls(kind string) *metrics.Counter {
	return metrics.GetOrCreateCounter(fmt.Sprintf("nocturne_collector_polls_total{kind=%q}", kind))
}

func failures(kind string) *metrics.Counter {
	return metrics.GetOrCreateCounter(fmt.Sprintf("nocturne_collector_poll_failures_total{kind=%q}", kind))
}

func missedPolls(kind string) *metrics.Counter {
	return metrics.GetOrCreateCounter(fmt.Sprintf("nocturne_collector_missed_polls_total{kind=%q}", kind))
}

func pollDuration(kind string) *metrics.Histogram {
	return metrics.GetOrCreateHistogram(fmt.Sprintf("nocturne_collector_poll_duration_seconds{kind=%q}", kind))
}

// gauge publishes how full the slots are. mu is held.
func (s *Scheduler) gauge() {
	waiting, running := s.slots.counts()
	metrics.GetOrCreateGauge("nocturne_collector_polls_waiting", nil).Set(float64(waiting))
	metrics.GetOrCreateGauge("nocturne_collector_polls_running", nil).Set(float64(running))
	metrics.GetOrCreateGauge("nocturne_collector_targets", nil).Set(float64(len(s.targets)))
}
