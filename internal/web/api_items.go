package web

import (
	"context"
	"slices"
	"strings"
	"time"

	"nocturne/alerting"
	"nocturne/collector"
	"nocturne/internal/access"
	"nocturne/internal/inventory"
	"nocturne/views/ui"
)

// ItemJSON is an item with the state that it is in.
type ItemJSON struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	Name      string     `json:"name"`
	State     ui.State   `json:"state" enum:"critical,major,warning,unknown,maintenance,ok"`
	FirstSeen *time.Time `json:"first_seen,omitempty"`
	LastSeen  *time.Time `json:"last_seen,omitempty"`
	Missing   bool       `json:"missing" doc:"All who saw it no longer do"`
	Sources   []string   `json:"sources"`
}

// itemDetail is an item with all that is known of it.
type itemDetail struct {
	ItemJSON
	Reasons   []string                   `json:"reasons" doc:"Why it is in this state, the worst first"`
	Since     *time.Time                 `json:"since,omitempty"`
	Alerts    []string                   `json:"alerts" doc:"Fingerprints of what fires on it and in it"`
	Fields    map[string]inventory.Field `json:"fields"`
	Relations []inventory.Relation       `json:"relations"`
	Parents   []string                   `json:"parents" doc:"What carries it, nearest first"`
}

// linkJSON is a connection of two interfaces.
type linkJSON struct {
	ID       string    `json:"id"`
	A        string    `json:"a"`
	B        string    `json:"b"`
	DeviceA  string    `json:"device_a"`
	DeviceB  string    `json:"device_b"`
	Evidence string    `json:"evidence"`
	LastSeen time.Time `json:"last_seen"`
	Missing  bool      `json:"missing"`
	State    ui.State  `json:"state"`
}

// targetJSON is a polling target and how it goes with it.
type targetJSON struct {
	Name       string     `json:"name"`
	Kind       string     `json:"kind"`
	Address    string     `json:"address"`
	Site       string     `json:"site,omitempty"`
	Credential string     `json:"credential,omitempty" doc:"Its name"`
	Interval   float64    `json:"interval_seconds"`
	Last       *time.Time `json:"last,omitempty"`
	LastOK     *time.Time `json:"last_ok,omitempty"`
	Error      string     `json:"error,omitempty"`
	Partial    bool       `json:"partial" doc:"The error is about a part only"`
	Duration   float64    `json:"duration_seconds"`
	Debt       int        `json:"debt" doc:"Slots that passed without a poll"`
	Polls      uint64     `json:"polls"`
	Failures   uint64     `json:"failures"`
	Running    bool       `json:"running"`
}

type statusJSON struct {
	Build string              `json:"build"`
	Tally map[ui.State]int    `json:"tally" doc:"Devices, hosts, hypervisors and instances by state"`
	Items map[string]ui.State `json:"items"`
	AsOf  map[string]int64    `json:"as_of" doc:"Unix seconds of each target's last good poll"`
}

type meJSON struct {
	Name  string   `json:"name"`
	Role  string   `json:"role"`
	Token bool     `json:"token"`
	May   []string `json:"may"`
}

// Cut bounds a list.
type Cut struct {
	Limit  int `query:"limit" default:"100" minimum:"1" maximum:"1000"`
	Offset int `query:"offset" default:"0" minimum:"0"`
}

type list[T any] struct {
	Items []T `json:"items"`
	Total int `json:"total"`
}

func cutOut[T any](all []T, c Cut) *body[list[T]] {
	from := min(c.Offset, len(all))
	return reply(list[T]{some(all[from:min(from+c.Limit, len(all))]), len(all)})
}

// addLooking adds what shows the world as it is.
func (a *apiMux) addLooking() {
	s := a.s
	add(a, op{id: "get-me", method: "GET", path: "/me", tag: "access", summary: "Who asks, and what they may do", right: access.View}, s.apiMe)
	add(a, op{id: "get-status", method: "GET", path: "/status", tag: "items", summary: "The state of every item", right: access.View}, s.apiStatus)
	add(a, op{id: "list-items", method: "GET", path: "/items", tag: "items", summary: "Items of the inventory", right: access.View}, s.apiItems)
	add(a, op{id: "get-item", method: "GET", path: "/item", tag: "items", summary: "One item with its state, fields and relations", right: access.View}, s.apiItem)
	add(a, op{id: "list-links", method: "GET", path: "/links", tag: "items", summary: "Links between interfaces", right: access.View}, s.apiLinks)
	add(a, op{id: "search", method: "GET", path: "/search", tag: "items", summary: "Items, alerts and jobs by a few letters, the best first", right: access.View}, s.apiSearch)
	add(a, op{id: "get-chart", method: "GET", path: "/chart", tag: "items", summary: "What a panel of an item draws", right: access.View}, s.apiChart)
	add(a, op{id: "list-targets", method: "GET", path: "/targets", tag: "targets", summary: "Polling targets and how it goes with them", right: access.View}, s.apiTargets)
	add(a, op{id: "poll-target", method: "POST", path: "/targets/{name}/poll", tag: "targets", summary: "Poll a target now and wait for it", right: access.Run}, s.apiPoll)
}

func (s *Server) apiMe(ctx context.Context, _ *struct{}) (*body[meJSON], error) {
	actor := actorOf(ctx)
	me := meJSON{Name: actor.Name, Role: string(actor.Role), Token: actor.Token}
	for _, right := range []access.Action{access.View, access.Ack, access.Run, access.Configure, access.Administer, access.Write} {
		if actor.May(right) {
			me.May = append(me.May, string(right))
		}
	}
	return reply(me), nil
}

func (s *Server) apiStatus(context.Context, *struct{}) (*body[statusJSON], error) {
	b := s.hub.look(board{})
	return reply(statusJSON{Build: s.Build, Tally: b.tally, Items: b.states, AsOf: b.asOf}), nil
}

func (s *Server) apiItems(_ context.Context, in *struct {
	Cut
	Kind  string   `query:"kind" doc:"device, interface, host, instance, rack..."`
	State ui.State `query:"state" enum:"critical,major,warning,unknown,maintenance,ok"`
	Text  string   `query:"q" doc:"Part of the name or id" maxLength:"200"`
}) (*body[list[ItemJSON]], error) {
	items := s.Graph.Items(in.Kind)
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.ID
	}
	states := s.Alerts.Statuses(ids)
	found := []ItemJSON{}
	for _, it := range items {
		row := itemAnswer(it, states[it.ID])
		if (in.State == "" || row.State == in.State) && (in.Text == "" || strings.Contains(strings.ToLower(it.Name+" "+it.ID), strings.ToLower(in.Text))) {
			found = append(found, row)
		}
	}
	return cutOut(found, in.Cut), nil
}

func itemAnswer(it inventory.Item, st alerting.Status) ItemJSON {
	return ItemJSON{
		ID: it.ID, Kind: it.Kind, Name: it.Name, State: stateOf(st.State), FirstSeen: when(it.FirstSeen), LastSeen: when(it.LastSeen),
		Missing: it.Missing, Sources: some(it.Sources),
	}
}

// when is a time that may not have been.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

type byID struct {
	ID string `query:"id" required:"true" doc:"kind/key, such as device/leaf1" maxLength:"500"`
}

func (s *Server) apiItem(_ context.Context, in *byID) (*body[itemDetail], error) {
	it, ok := s.Graph.Item(in.ID)
	if !ok {
		return nil, notFound{"item " + in.ID}
	}
	st := s.Alerts.Status(it.ID)
	return reply(itemDetail{
		ItemJSON: itemAnswer(it, st), Reasons: some(st.Reasons), Since: when(st.Since), Alerts: some(st.Alerts), Fields: it.Fields,
		Relations: some(s.Graph.Relations(it.ID)), Parents: some(s.Graph.Parents(it.ID)),
	}), nil
}

func (s *Server) apiLinks(_ context.Context, in *Cut) (*body[list[linkJSON]], error) {
	var out []linkJSON
	for _, l := range s.Graph.Links() {
		out = append(out, linkJSON{ID: l.ID, A: l.A, B: l.B, DeviceA: l.DeviceA, DeviceB: l.DeviceB, Evidence: l.Evidence, LastSeen: l.LastSeen, Missing: l.Missing, State: s.linkState(l)})
	}
	return cutOut(out, *in), nil
}

func (s *Server) apiSearch(_ context.Context, in *struct {
	Text string `query:"q" required:"true" minLength:"1" maxLength:"200"`
}) (*body[found], error) {
	return reply(found{s.search(in.Text)}), nil
}

func (s *Server) apiChart(ctx context.Context, in *struct {
	Item  string `query:"item" required:"true" maxLength:"500"`
	Panel string `query:"panel" required:"true" maxLength:"100"`
	Range string `query:"range" default:"hour" enum:"hour,day,week"`
}) (*body[chartData], error) {
	c, err := s.chart(ctx, in.Item, in.Panel, in.Range)
	return reply(c), err
}

func (s *Server) apiTargets(_ context.Context, in *struct {
	Cut
	Kind    string `query:"kind" doc:"snmp, linux, local, openstack"`
	Failing bool   `query:"failing" doc:"Only those whose last poll failed"`
}) (*body[list[targetJSON]], error) {
	all := slices.DeleteFunc(s.Collector.Status(), func(t collector.TargetStatus) bool {
		return in.Kind != "" && t.Target.Kind != in.Kind || in.Failing && !failing(t)
	})
	var out []targetJSON
	for _, t := range all {
		out = append(out, targetAnswer(t))
	}
	return cutOut(out, in.Cut), nil
}

func targetAnswer(t collector.TargetStatus) targetJSON {
	return targetJSON{
		Name: t.Target.Name, Kind: t.Target.Kind, Address: t.Target.Address, Site: t.Target.Site, Credential: t.Target.Credential,
		Interval: t.Target.Interval.Seconds(), Last: when(t.Last), LastOK: when(t.LastOK), Error: t.Err, Partial: t.Partial,
		Duration: t.Duration.Seconds(), Debt: t.Debt, Polls: t.Polls, Failures: t.Failures, Running: t.Running,
	}
}

// apiPoll answers with how the poll went: one that failed was still made.
func (s *Server) apiPoll(ctx context.Context, in *struct {
	Name string `path:"name"`
}) (*body[targetJSON], error) {
	if err := s.poll(ctx, in.Name); err != nil {
		return nil, err
	}
	for _, t := range s.Collector.Status() {
		if t.Target.Name == in.Name {
			return reply(targetAnswer(t)), nil
		}
	}
	return nil, notFound{"target " + in.Name}
}
