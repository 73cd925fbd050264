package web

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"nocturne/collector"
	"nocturne/views/ui"
)

const maxFound = 20

// found is what the palette lists.
type found struct {
	Results []hit `json:"results"`
}

// hit is one thing that a search found.
type hit struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Kind  string   `json:"kind" doc:"An item's kind, alert or job"`
	Href  string   `json:"href"`
	State ui.State `json:"state,omitempty"`

	rank int
}

// searched are the kinds of items that can be found, the likeliest first.
// Interfaces come last: there are so many.
var searched = []string{"device", "host", "instance", "hypervisor", "application", "rack", "room", "site", "interface"}

// search looks for words in names, addresses, alerts and jobs. A hit has all
// of them; those in its name weigh most.
func (s *Server) search(query string) []hit {
	words := strings.Fields(strings.ToLower(query))
	if len(words) == 0 {
		return []hit{}
	}
	var hits []hit
	take := func(h hit, name string, more ...string) {
		if r := rankOf(words, name, more); r > 0 {
			h.rank = r
			hits = append(hits, h)
		}
	}
	addresses := map[string]string{}
	for _, t := range s.Collector.Status() {
		addresses[t.Target.Name] = t.Target.Address
	}
	for _, kind := range searched {
		for _, it := range s.Graph.Items(kind) {
			name := it.Name
			if kind == "interface" {
				name = it.Key()
			}
			take(hit{ID: it.ID, Name: name, Kind: kind, Href: itemHref(it.ID)}, name, it.ID, addresses[it.Key()], it.Value("addresses"), it.Value("ifAlias"), it.Value("sysName"))
		}
	}
	for _, a := range s.Alerts.Alerts() {
		name := a.Rule + ": " + cmp.Or(a.Annotations["summary"], a.Labels.String())
		take(hit{ID: a.Fingerprint, Name: name, Kind: "alert", Href: "/alerts/" + a.Fingerprint, State: ui.State(a.Severity()).Known()}, a.Rule, name, a.Item, a.Incident)
	}
	for _, j := range s.Jobs.Jobs(manyJobs) {
		name := cmp.Or(j.Title, j.Runbook) + ", " + j.Phase
		take(hit{ID: j.ID, Name: name, Kind: "job", Href: "/jobs/" + j.ID}, j.Title, j.ID, j.Runbook, strings.Join(j.Hosts, " "), j.Incident)
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Or(cmp.Compare(b.rank, a.rank), naturally(a.Name, b.Name)) })
	hits = hits[:min(len(hits), maxFound)]
	for i, h := range hits {
		if h.State == "" && h.Kind != "job" {
			hits[i].State = stateOf(s.Alerts.Status(h.ID).State)
		}
	}
	return some(hits)
}

// rankOf tells how well words fit: 0 where one is missing; else more for a
// name that is the word, begins with it, holds it, than for other text.
func rankOf(words []string, name string, more []string) int {
	name, rest := strings.ToLower(name), strings.ToLower(strings.Join(more, " "))
	sum := 0
	for _, w := range words {
		switch {
		case name == w:
			sum += 8
		case strings.HasPrefix(name, w):
			sum += 4
		case strings.Contains(name, w):
			sum += 2
		case strings.Contains(rest, w):
			sum++
		default:
			return 0
		}
	}
	return sum
}

// poll polls a target now, for whom the ledger names. That the poll itself
// failed is no error here: the target's status tells it. Nor is one that takes
// longer: it goes on without us.
func (s *Server) poll(ctx context.Context, name string) error {
	if !slices.ContainsFunc(s.Collector.Status(), func(t collector.TargetStatus) bool { return t.Target.Name == name }) {
		return notFound{"target " + name}
	}
	if err := s.record(ctx, "target.poll", "target/"+name, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pollWait)
	defer cancel()
	if err := s.Collector.PollNow(ctx, name); errors.Is(err, collector.ErrUnknownTarget) {
		return notFound{"target " + name}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return nil
}
