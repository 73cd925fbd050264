package alerting

import (
	"maps"
	"slices"

	"github.com/prometheus/common/model"
)

// Bounds of following recorded series to what they are made of.
const (
	recordedDepth     = 8
	recordedSelectors = 256 // of one rule
)

// restOnRecorded adds to what each rule rests on the selectors of the recording
// rules that make its series: a recorded sample is as new as its evaluation,
// whatever age the samples had that it was made from.
func restOnRecorded(groups []*group) {
	var records []*rule
	own := map[*rule][]selector{}
	for _, g := range groups {
		for _, r := range g.rules {
			own[r] = r.rests
			if r.record {
				records = append(records, r)
			}
		}
	}
	for r, rests := range own {
		found := slices.Clone(rests)
		for _, s := range rests {
			found = s.follow(found, records, own, []*rule{r})
		}
		r.rests = found
	}
}

// follow appends what the recorded series of a selector are made of. path holds
// the rules above, so that one that reads its own series ends there.
func (s selector) follow(found []selector, records []*rule, own map[*rule][]selector, path []*rule) []selector {
	if len(path) > recordedDepth {
		return found
	}
	for _, r := range records {
		if slices.Contains(path, r) || !s.takes(r) {
			continue
		}
		for _, of := range own[r] {
			if len(found) >= recordedSelectors {
				return found
			}
			of = s.over(of, r.labels)
			found = append(found, of)
			found = of.follow(found, records, own, append(slices.Clip(path), r))
		}
	}
	return found
}

// takes tells whether the selector names the series of a recording rule.
func (s selector) takes(r *rule) bool {
	named := false
	for _, m := range s.matchers {
		v, set := r.labels[m.Name]
		if m.Name == model.MetricNameLabel {
			named, v, set = true, r.name, true
		}
		if set && !m.Matches(v) {
			return false
		}
	}
	return named
}

// over is a selector of a recording rule as one of the expression that selects
// the recorded series by s: only labels that pass both are the same, and the
// times add up.
func (s selector) over(of selector, set map[string]string) selector {
	passes := without(of.passes, slices.Collect(maps.Keys(set))...)
	of.matchers = slices.Clone(of.matchers)
	for _, m := range s.matchers {
		if m.Name != model.MetricNameLabel && passes(m.Name) {
			of.matchers = append(of.matchers, m)
		}
	}
	of.passes = func(n string) bool { return passes(n) && s.passes(n) }
	of.window += max(0, s.window-lookback)
	of.offset += s.offset
	of.absent = of.absent || s.absent
	return of
}
