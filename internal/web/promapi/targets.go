package promapi

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"

	"nocturne/collector"
)

type target struct {
	DiscoveredLabels   labelSet  `json:"discoveredLabels"`
	Labels             labelSet  `json:"labels"`
	ScrapePool         string    `json:"scrapePool"`
	ScrapeURL          string    `json:"scrapeUrl"`
	GlobalURL          string    `json:"globalUrl"`
	LastError          string    `json:"lastError"`
	LastScrape         time.Time `json:"lastScrape"`
	LastScrapeDuration float64   `json:"lastScrapeDuration"`
	Health             string    `json:"health"`
	ScrapeInterval     string    `json:"scrapeInterval"`
	ScrapeTimeout      string    `json:"scrapeTimeout"`
}

type targetList struct {
	Active  []target       `json:"activeTargets"`
	Dropped []struct{}     `json:"droppedTargets"` // none is ever dropped
	Counts  map[string]int `json:"droppedTargetCounts"`
}

// targetStatuses are those of all targets, by job and name.
func (a *api) targetStatuses() []collector.TargetStatus {
	if a.Targets == nil {
		return nil
	}
	return slices.SortedStableFunc(slices.Values(a.Targets()), func(x, y collector.TargetStatus) int {
		return strings.Compare(collector.Job(x.Kind), collector.Job(y.Kind))
	})
}

func (a *api) targets(r *http.Request) answer {
	pool, state := r.URL.Query().Get("scrapePool"), strings.ToLower(r.URL.Query().Get("state"))
	out := targetList{Active: []target{}, Dropped: []struct{}{}}
	every := state == "" || state == "any"
	if every || state == "dropped" {
		out.Counts = map[string]int{}
	}
	for _, t := range a.targetStatuses() {
		job := collector.Job(t.Kind)
		if out.Counts != nil {
			out.Counts[job] = 0
		}
		if (every || state == "active") && (pool == "" || pool == job) {
			out.Active = append(out.Active, asTarget(t))
		}
	}
	return answer{data: out}
}

// asTarget is a target in Prometheus' words. Its credential is left out, and
// so are the labels that people give it: they are on none of its series.
func asTarget(t collector.TargetStatus) target {
	interval, timeout := model.Duration(t.Interval).String(), model.Duration(t.Timeout).String()
	at := addressOf(t.Target)
	out := target{
		DiscoveredLabels: labelSet{labels.FromStrings("__address__", at.Host, "__scheme__", at.Scheme, "__metrics_path__", at.Path,
			model.ScrapeIntervalLabel, interval, model.ScrapeTimeoutLabel, timeout, model.JobLabel, collector.Job(t.Kind))},
		Labels:     labelSet{targetLabels(t)},
		ScrapePool: collector.Job(t.Kind), ScrapeURL: at.String(), GlobalURL: at.String(),
		LastError: t.Err, LastScrapeDuration: t.Duration.Seconds(), Health: "up",
		ScrapeInterval: interval, ScrapeTimeout: timeout,
	}
	switch {
	case t.Last.IsZero():
		out.Health = "unknown"
		return out
	case t.Err != "" && !t.Partial:
		out.Health = "down"
	}
	out.LastScrape = t.Last.Add(-t.Duration)
	return out
}

func targetLabels(t collector.TargetStatus) labels.Labels {
	return labels.FromStrings(model.InstanceLabel, t.Name, model.JobLabel, collector.Job(t.Kind))
}

// addressOf is where a target is polled. What somebody put before the @ of a
// URL may be a secret.
func addressOf(t collector.Target) url.URL {
	if u, err := url.Parse(t.Address); err == nil && u.Host != "" {
		return url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	}
	address := t.Address
	if address == "" {
		address = t.Name
	}
	return url.URL{Scheme: t.Kind, Host: address}
}

func (a *api) scrapePools(*http.Request) answer {
	pools := map[string]bool{}
	for _, t := range a.targetStatuses() {
		pools[collector.Job(t.Kind)] = true
	}
	names := slices.Sorted(maps.Keys(pools))
	return answer{data: map[string][]string{"scrapePools": list(names)}}
}

// alertmanagers is empty: notifications go to receivers, without one between.
func (a *api) alertmanagers(*http.Request) answer {
	return answer{data: struct {
		Active  []struct{} `json:"activeAlertmanagers"`
		Dropped []struct{} `json:"droppedAlertmanagers"`
	}{[]struct{}{}, []struct{}{}}}
}

type targetMetric struct {
	Target labelSet         `json:"target"`
	Metric string           `json:"metric,omitempty"`
	Type   model.MetricType `json:"type"`
	Help   string           `json:"help"`
	Unit   string           `json:"unit"`
}

// metricsOf are what the targets of a kind have.
func (a *api) metricsOf(kind string) []collector.Metric {
	return slices.Concat(a.Metrics[kind], collector.OwnMetrics)
}

func (a *api) targetMetadata(r *http.Request) answer {
	limit, err := wholeNumber(r, "limit")
	if err != nil {
		return badData(err)
	}
	var matchers []*labels.Matcher
	if s := r.FormValue("match_target"); s != "" {
		if matchers, err = a.parser.ParseMetricSelector(s); err != nil {
			return invalid("match_target", err)
		}
	}
	metric := r.FormValue("metric")
	found := []targetMetric{}
	for _, t := range a.targetStatuses() {
		if limit >= 0 && len(found) >= limit {
			break
		}
		ls := targetLabels(t)
		if slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(ls.Get(m.Name)) }) {
			continue
		}
		for _, m := range a.metricsOf(t.Kind) {
			switch metric {
			case "":
				found = append(found, targetMetric{labelSet{ls}, m.Name, m.Type, m.Help, m.Unit})
			case m.Name: // asked for by name, the name is left out
				found = append(found, targetMetric{labelSet{ls}, "", m.Type, m.Help, m.Unit})
			}
		}
	}
	return answer{data: found}
}

// metadata is what targets of the kinds that are polled have, and what
// senders told.
func (a *api) metadata(r *http.Request) answer {
	limit, err := wholeNumber(r, "limit")
	if err != nil {
		return badData(err)
	}
	each, err := wholeNumber(r, "limit_per_metric")
	if err != nil {
		return badData(err)
	}
	all := a.allMetadata()
	if metric := r.FormValue("metric"); metric != "" {
		one, known := all[metric]
		all = map[string][]metadata.Metadata{}
		if known {
			all[metric] = one
		}
	}
	found := map[string][]metadata.Metadata{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if limit >= 0 && len(found) >= limit {
			break
		}
		found[name] = all[name]
		if each > 0 && len(all[name]) > each {
			found[name] = all[name][:each]
		}
	}
	return answer{data: found}
}

func (a *api) allMetadata() map[string][]metadata.Metadata {
	all := a.Metadata.All()
	if all == nil {
		all = map[string][]metadata.Metadata{}
	}
	kinds := map[string]bool{}
	for _, t := range a.targetStatuses() {
		if kinds[t.Kind] {
			continue
		}
		kinds[t.Kind] = true
		for _, m := range a.metricsOf(t.Kind) {
			if md := (metadata.Metadata{Type: m.Type, Help: m.Help, Unit: m.Unit}); !slices.Contains(all[m.Name], md) {
				all[m.Name] = append(slices.Clip(all[m.Name]), md)
			}
		}
	}
	return all
}

// wholeNumber reads a parameter that is a count; -1 where there is none.
func wholeNumber(r *http.Request, name string) (int, error) {
	s := r.FormValue(name)
	if s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, errors.New(name + " must be a number")
	}
	return n, nil
}
