package alerting

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// partialMetric is 1 after a poll that did not see all that it asked for. The
// collector writes it with each `up`.
const partialMetric = "nocturne_poll_partial"

// missedPolls is how many polling intervals may pass unseen.
const missedPolls = 3

// Windows of reading `up`: at first, and from then on.
const (
	firstWindow = time.Hour
	nextWindow  = 2 * time.Minute
)

// keptPolls is how many times of polls the interval is told from.
const keptPolls = 16

// polled is what is known of one target.
type polled struct {
	labels labels.Labels
	times  []int64 // of the last polls, Unix ms, oldest first
	up     bool    // the last poll was answered
	partly bool    // the last poll saw not all that it asked for
	lastOK time.Time
}

// polls are the targets that are polled, by name.
type polls map[target]polled

// readPolls reads the series `up` and nocturne_poll_partial of (from, to]
// over what is known before.
func (e *Engine) readPolls(ctx context.Context, before polls, from, to time.Time) (polls, error) {
	out := maps.Clone(before)
	if out == nil {
		out = polls{}
	}
	// In one read, so that both are of the same poll.
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, "up|"+partialMetric)}
	partly := map[target]bool{}
	err := e.each(ctx, ms, from, to, func(ls labels.Labels, it chunkenc.Iterator) error {
		tg := target{ls.Get("job"), ls.Get(instanceLabel)}
		if ls.Get(model.MetricNameLabel) != "up" {
			for it.Next() == chunkenc.ValFloat {
				_, v := it.At()
				partly[tg] = v == 1
			}
			return it.Err()
		}
		p := out[tg]
		p.labels = ls
		p.times = slices.Clone(p.times)
		gone := false
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			if len(p.times) > 0 && t <= p.times[len(p.times)-1] {
				continue
			}
			gone = value.IsStaleNaN(v)
			p.times = append(p.times, t)
			p.up = v == 1
			if p.up {
				p.lastOK = time.UnixMilli(t).UTC()
			}
		}
		p.times = p.times[max(0, len(p.times)-keptPolls):]
		out[tg] = p
		if gone || len(p.times) == 0 {
			delete(out, tg)
		}
		return it.Err()
	})
	for tg, v := range partly {
		if p, ok := out[tg]; ok {
			p.partly = v
			out[tg] = p
		}
	}
	return out, err
}

// interval is the time between polls: the median of those seen, at least the
// configured one (a page that watches a device has it polled each second, and
// stops).
func (p polled) interval(configured time.Duration) time.Duration {
	var gaps []int64
	for i := 1; i < len(p.times); i++ {
		gaps = append(gaps, p.times[i]-p.times[i-1])
	}
	if len(gaps) == 0 {
		return configured
	}
	slices.Sort(gaps)
	return max(configured, time.Duration(gaps[len(gaps)/2])*time.Millisecond)
}

// fresh tells whether the target is seen at now. A poll of the future is none:
// the clock was set back, and what came since is not read before that time.
func (p polled) fresh(configured time.Duration, now time.Time) bool {
	interval := p.interval(configured)
	age := now.Sub(p.lastOK)
	return p.up && age >= -interval && age <= missedPolls*interval
}
