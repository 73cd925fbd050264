package alerting

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// instanceLabel carries the name of a series' target.
const instanceLabel = "instance"

// sight is what is known of the series that an alert rests on.
type sight struct {
	seen    bool
	removed bool   // its target is gone from the collector, so nothing will come
	partly  bool   // so are some of the targets it rests on, and the others are seen
	reason  string // what is not seen, or that the series ended
}

// last is the end of a series: its last sample, or staleness marker.
type last struct {
	labels labels.Labels
	t      int64 // Unix ms
	v      float64
	marker bool
}

// look tells whether every series that an alert rests on has samples newer
// than since. trueAt is a time at which the rule was true: what had samples
// then is what must be seen now.
func (e *Engine) look(ctx context.Context, r *rule, series labels.Labels, trueAt, since, now time.Time) (sight, error) {
	known, absences, gone, there := false, false, false, false
	result := sight{seen: true}
	for _, s := range r.rests {
		own := series.Get(instanceLabel) != "" && s.passes(instanceLabel)
		s, err := e.lookAt(ctx, s, s.narrow(series), trueAt, since, now)
		if err != nil {
			return sight{}, err
		}
		known, absences = known || s.known, absences || s.absent
		gone, there = gone || s.gone, there || s.there
		switch {
		case own && s.gone:
			return sight{seen: true, removed: true, reason: s.reason}, nil
		case !s.seen:
			result = s.sight
		case result.seen && s.reason != "":
			result.reason = s.reason
		}
	}
	if len(r.rests) > 0 && !known && !absences {
		return sight{reason: "none of its series is in the history"}, nil
	}
	if result.seen {
		result.removed, result.partly = gone && !there, gone && there
	}
	return result, nil
}

type selectorSight struct {
	sight
	known  bool // it had series when the rule was true
	absent bool
	gone   bool // of one of its series the target is removed
	there  bool // another one is seen
}

func (e *Engine) lookAt(ctx context.Context, s selector, ms []*labels.Matcher, trueAt, since, now time.Time) (selectorSight, error) {
	out := selectorSight{sight: sight{seen: true}, absent: s.absent}
	trueAt, since = trueAt.Add(-s.offset), since.Add(-s.offset)
	recent, err := e.ends(ctx, ms, now.Add(-s.offset-lookback), now.Add(-s.offset))
	if err != nil {
		return out, err
	}
	if s.absent {
		out.seen = len(recent) == 0
		for _, l := range recent {
			out.seen = out.seen || !l.marker && l.t > since.UnixMilli()
		}
		if !out.seen {
			out.reason = "no sample since " + since.UTC().Format(time.RFC3339)
		}
		return out, nil
	}
	required, err := e.ends(ctx, ms, trueAt.Add(-s.window), trueAt)
	if err != nil {
		return out, err
	}
	for h, was := range required {
		if was.marker {
			continue // it had ended before, the rule was true without it
		}
		out.known = true
		got, ok := recent[h]
		if ok && !got.marker && got.t > since.UnixMilli() {
			out.there = true
			continue
		}
		one, err := e.lookBeyond(ctx, was, got, ok, trueAt, since, now)
		if err != nil {
			return out, err
		}
		if !one.seen {
			out.sight = one
			return out, nil
		}
		out.gone, out.there = out.gone || one.removed, out.there || !one.removed
		if one.removed || !out.gone {
			out.reason = one.reason
		}
	}
	return out, nil
}

// lookBeyond judges a series without a fresh sample: it ended, its target was
// removed, or it is not seen.
func (e *Engine) lookBeyond(ctx context.Context, was, got last, ok bool, trueAt, since, now time.Time) (sight, error) {
	if !ok { // perhaps it ended longer ago
		ends, err := e.ends(ctx, exactly(was.labels), trueAt, now)
		if err != nil {
			return sight{}, err
		}
		got = ends[was.labels.Hash()]
	}
	unseen := sight{reason: fmt.Sprintf("%s is not seen", was.labels)}
	job, instance := was.labels.Get("job"), was.labels.Get(instanceLabel)
	if instance == "" {
		return unseen, nil
	}
	ups, err := e.ends(ctx, []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "up"),
		labels.MustNewMatcher(labels.MatchEqual, "job", job),
		labels.MustNewMatcher(labels.MatchEqual, instanceLabel, instance),
	}, trueAt.Add(-lookback), now)
	if err != nil {
		return sight{}, err
	}
	for _, up := range ups {
		switch {
		case up.marker:
			return sight{seen: true, removed: true, reason: "target removed: " + instance}, nil
		case got.marker && up.v == 1 && up.t >= got.t && up.t > since.UnixMilli():
			return sight{seen: true, reason: fmt.Sprintf("%s ended while %s was seen", was.labels, instance)}, nil
		}
	}
	return unseen, nil
}

func exactly(ls labels.Labels) []*labels.Matcher {
	var ms []*labels.Matcher
	ls.Range(func(l labels.Label) {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
	})
	return ms
}

// ends returns, by the hash of their labels, the ends of the series that have
// samples or markers in (from, to].
func (e *Engine) ends(ctx context.Context, ms []*labels.Matcher, from, to time.Time) (map[uint64]last, error) {
	out := map[uint64]last{}
	err := e.each(ctx, ms, from, to, func(ls labels.Labels, it chunkenc.Iterator) error {
		end := last{labels: ls, t: -1}
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			if vt == chunkenc.ValFloat {
				end.t, end.v = it.At()
			} else {
				end.t, end.v = it.AtT(), 0
			}
		}
		if end.t >= 0 {
			end.marker = value.IsStaleNaN(end.v)
			out[ls.Hash()] = end
		}
		return it.Err()
	})
	return out, err
}

// each walks the raw samples, markers included, of the series that match in
// (from, to].
func (e *Engine) each(ctx context.Context, ms []*labels.Matcher, from, to time.Time, f func(labels.Labels, chunkenc.Iterator) error) (err error) {
	mint, maxt := from.UnixMilli()+1, to.UnixMilli()
	if mint > maxt {
		return nil
	}
	q, err := e.o.DB.Queryable().Querier(mint, maxt)
	if err != nil {
		return fmt.Errorf("read series: %w", err)
	}
	defer func() {
		if cerr := q.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("read series: %w", cerr)
		}
	}()
	set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt}, ms...)
	var it chunkenc.Iterator
	for set.Next() {
		it = set.At().Iterator(it)
		if err := f(set.At().Labels(), it); err != nil {
			return fmt.Errorf("read %s: %w", set.At().Labels(), err)
		}
	}
	if err := set.Err(); err != nil {
		return fmt.Errorf("read series: %w", err)
	}
	return nil
}
