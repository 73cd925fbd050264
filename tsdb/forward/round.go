package forward

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

type sample struct {
	t int64
	v float64
}

// run is a series with samples of it, in the order they were appended.
type run struct {
	labels  labels.Labels
	samples []sample
}

// round is what is sent before the position moves again.
type round struct {
	runs    []run
	index   map[chunks.HeadSeriesRef]int
	samples int
	seen    times // of samples
	unknown times // of samples whose series the catalogue does not know
	strange int   // records of a kind that is not forwarded: histograms
}

func newRound() *round {
	r := &round{index: map[chunks.HeadSeriesRef]int{}}
	r.reset()
	return r
}

// reset forgets all; the memory for many series is given back.
func (r *round) reset() {
	clear(r.runs)
	clear(r.index)
	r.runs, r.samples, r.strange = r.runs[:0], 0, 0
	r.seen, r.unknown = noTimes(), noTimes()
}

// add takes samples of the log.
func (r *round) add(list []record.RefSample, c *catalogue) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, s := range list {
		i, ok := r.index[s.Ref]
		if !ok {
			e, known := c.series[s.Ref]
			if !known {
				r.unknown.add(s.T)
				continue
			}
			i = len(r.runs)
			r.index[s.Ref] = i
			r.runs = append(r.runs, run{labels: e.labels})
		}
		r.runs[i].samples = append(r.runs[i].samples, sample{s.T, s.V})
		r.samples++
		r.seen.add(s.T)
	}
}

// split deals the runs out to at most n senders, and no more than it takes
// requests of limit samples.
func split(runs []run, samples, n, limit int) [][]run {
	n = max(1, min(n, (samples+limit-1)/limit))
	out := make([][]run, n)
	for i, r := range runs {
		out[i%n] = append(out[i%n], r)
	}
	return out
}

// cut takes runs with at most limit samples off the front of runs; a run that
// is longer is cut in two.
func cut(runs []run, limit int) (head, rest []run) {
	n := 0
	for i, r := range runs {
		if n+len(r.samples) <= limit {
			n += len(r.samples)
			continue
		}
		head = append(head, runs[:i]...)
		if room := limit - n; room > 0 {
			head = append(head, run{r.labels, r.samples[:room]})
			r.samples = r.samples[room:]
		}
		return head, append([]run{r}, runs[i+1:]...)
	}
	return runs, nil
}

// halve cuts a request in two, between series where there are several. ok is
// false for a single sample.
func halve(runs []run) (a, b []run, ok bool) {
	if len(runs) > 1 {
		return runs[:len(runs)/2], runs[len(runs)/2:], true
	}
	if len(runs) == 0 || len(runs[0].samples) < 2 {
		return nil, nil, false
	}
	s := runs[0].samples
	return []run{{runs[0].labels, s[:len(s)/2]}}, []run{{runs[0].labels, s[len(s)/2:]}}, true
}

func count(runs []run) int {
	n := 0
	for _, r := range runs {
		n += len(r.samples)
	}
	return n
}

// labelling is what a receiver changes in labels.
type labelling struct {
	external labels.Labels // added where a series has no such label
	rules    []*relabel.Config
}

// apply labels runs in place, leaves out what the rules drop, and counts it.
func (l labelling) apply(runs []run) (kept []run, dropped int) {
	if l.external.IsEmpty() && len(l.rules) == 0 {
		return runs, 0
	}
	b := labels.NewBuilder(labels.EmptyLabels())
	kept = runs[:0]
	for _, r := range runs {
		b.Reset(r.labels)
		l.external.Range(func(x labels.Label) {
			if b.Get(x.Name) == "" {
				b.Set(x.Name, x.Value)
			}
		})
		keep := relabel.ProcessBuilder(b, l.rules...)
		if r.labels = b.Labels(); !keep || r.labels.IsEmpty() {
			dropped += len(r.samples)
			continue
		}
		kept = append(kept, r)
	}
	return kept, dropped
}
