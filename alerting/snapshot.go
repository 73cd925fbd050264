package alerting

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"nocturne/internal/inventory"
)

// readTimeout bounds one refresh.
const readTimeout = 5 * time.Second

// snapshot is all that the states of one time are computed from, and those
// computed so far.
type snapshot struct {
	at       time.Time
	graph    *inventory.Graph
	tree     *tree
	polls    polls
	broken   string              // why nothing was readable
	byItem   map[string][]target // targets that resolve to an item
	fresh    map[target]bool
	alerts   map[string][]Alert // firing, by item
	windows  map[string]Maintenance
	interval time.Duration
	before   map[string]Status // those of the snapshot before

	mu   sync.Mutex // guards below
	done map[string]Status
}

// snapshotNow computes from what is known now and what was known before.
func (e *Engine) snapshotNow(now time.Time, last *snapshot) *snapshot {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	s := &snapshot{at: now, graph: e.o.Graph, interval: e.o.PollInterval, done: map[string]Status{}, windows: e.windowsAt(now)}
	var known polls
	from := now.Add(-firstWindow)
	if last != nil {
		known, from = last.polls, last.at.Add(-nextWindow)
		last.mu.Lock()
		s.before = maps.Clone(last.done)
		last.mu.Unlock()
		if last.tree.rev == e.o.Graph.Rev() {
			s.tree = last.tree
		}
	}
	if s.tree == nil {
		s.tree = buildTree(e.o.Graph)
	}
	var err error
	if s.polls, err = e.readPolls(ctx, known, from, now); err != nil {
		e.log.Error("polls are not readable", "err", err)
		s.polls, s.broken = known, "the history is not readable"
	}
	s.alerts = byItem(e.Alerts())
	s.resolve()
	return s
}

// snapshotAt computes from what is recorded of t.
func (e *Engine) snapshotAt(t time.Time) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	s := &snapshot{at: t, graph: e.o.Graph, interval: e.o.PollInterval, done: map[string]Status{}, windows: e.windowsAt(t)}
	s.tree = e.current().tree
	var err error
	if s.polls, err = e.readPolls(ctx, nil, t.Add(-firstWindow), t); err != nil {
		return nil, err
	}
	var fired []Alert
	for rec, err := range e.alerts.All("") {
		if err != nil {
			return nil, fmt.Errorf("read episodes: %w", err)
		}
		a := rec.Value.Alert
		if !a.FiredAt.IsZero() && !a.FiredAt.After(t) && (a.ResolvedAt.IsZero() || a.ResolvedAt.After(t)) {
			a.Phase = Firing
			fired = append(fired, a)
		}
	}
	s.alerts = byItem(fired)
	s.resolve()
	return s, nil
}

func byItem(alerts []Alert) map[string][]Alert {
	out := map[string][]Alert{}
	for _, a := range alerts {
		if a.Phase == Firing && a.Item != "" {
			out[a.Item] = append(out[a.Item], a)
		}
	}
	return out
}

// resolve finds the items of the polled targets (one that never answered is
// named by no fact) and which targets are seen.
func (s *snapshot) resolve() {
	s.byItem = map[string][]target{}
	s.fresh = make(map[target]bool, len(s.polls))
	for tg, p := range s.polls {
		s.fresh[tg] = p.fresh(s.interval, s.at)
		if id, ok := s.graph.Resolve(p.labels, s.at); ok {
			s.byItem[id] = append(s.byItem[id], tg)
		}
	}
}

func (s *snapshot) states() map[string]State {
	out := make(map[string]State, len(s.tree.nodes))
	for id := range s.tree.nodes {
		out[id] = s.status(id).State
	}
	return out
}

// status answers for one item.
func (s *snapshot) status(id string) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compute(id, &descent{on: map[string]bool{}, part: map[string]Status{}})
}

// descent is one walk down the inventory, which may hold a cycle.
type descent struct {
	on   map[string]bool   // being computed further up
	part map[string]Status // computed without what was further up
	cut  bool              // something was left out since it was further up
}

// compute is status with mu held. What a cycle cut off is of use within this
// walk alone: asked by itself it has another state.
func (s *snapshot) compute(id string, on *descent) Status {
	if st, ok := s.done[id]; ok {
		return st
	}
	if st, ok := on.part[id]; ok {
		on.cut = true
		return st
	}
	cut := on.cut
	on.cut = false
	on.on[id] = true
	defer delete(on.on, id)
	var v view
	switch n := s.tree.nodes[id]; {
	case isLink(id):
		s.link(&v, id, on)
	case n == nil:
		v.add(StateUnknown, s.at, "not in the inventory")
	default:
		s.own(&v, n)
		s.within(&v, n, on)
		if !v.judged {
			v.add(StateUnknown, time.Time{}, "not monitored")
		}
		s.maintained(&v, n)
	}
	st := v.status()
	st.Since = s.since(id, st)
	if on.cut && len(on.on) > 1 {
		on.part[id] = st
	} else {
		s.done[id] = st
	}
	on.cut = on.cut || cut
	return st
}

// view gathers what is found of one item.
type view struct {
	judged   bool
	findings []finding
	alerts   []string
	lastSeen time.Time
	sighted  bool // lastSeen is set, if only to never
}

type finding struct {
	state  State
	since  time.Time
	reason string
}

func (v *view) add(s State, since time.Time, reason string) {
	v.judged = true
	v.findings = append(v.findings, finding{s, since, reason})
}

func (v *view) saw(t time.Time) {
	if !v.sighted || t.Before(v.lastSeen) {
		v.sighted, v.lastSeen = true, t
	}
}

func (v *view) alert(a Alert) {
	reason := cmp.Or(a.Annotations["summary"], a.Rule)
	if a.Stale {
		reason += " (not seen to be over)"
	}
	v.add(a.Severity().state(), a.FiredAt, reason)
	v.alerts = append(v.alerts, a.Fingerprint)
}

func (v *view) status() Status {
	slices.SortStableFunc(v.findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.state.rank(), b.state.rank()), a.since.Compare(b.since), cmp.Compare(a.reason, b.reason))
	})
	slices.Sort(v.alerts)
	st := Status{State: StateUnknown, LastSeen: v.lastSeen, Alerts: slices.Compact(v.alerts)}
	for i, f := range v.findings {
		if i == 0 {
			st.State, st.Since = f.state, f.since
		}
		if f.reason != "" && !slices.Contains(st.Reasons, f.reason) {
			st.Reasons = append(st.Reasons, f.reason)
		}
	}
	return st
}

// own judges an item by its alerts, those of its parts, and its targets.
func (s *snapshot) own(v *view, n *node) {
	for _, a := range s.alerts[n.item.ID] {
		v.alert(a)
	}
	for _, part := range n.parts {
		if _, quiet := s.windows[part]; quiet {
			continue
		}
		for _, a := range s.alerts[part] {
			v.alert(a)
		}
	}
	targets := n.targets
	for _, tg := range s.byItem[n.item.ID] {
		if !slices.Contains(targets, tg) {
			targets = append(slices.Clip(targets), tg)
		}
	}
	for _, tg := range targets {
		s.target(v, n, tg)
	}
	if n.byFact && len(targets) == 0 {
		s.fact(v, n)
	}
	if host := n.item.Fields["host_state"]; host.Value == "down" && !s.at.Before(host.At) {
		v.add(StateUnknown, host.At, fmt.Sprintf("its host %s is down: what the cloud says of it is of before", n.item.Value("host")))
	}
	if n.item.Missing && (len(targets) > 0 || n.byFact) {
		v.add(StateUnknown, n.item.LastSeen, "its source no longer has it")
	}
}

func (s *snapshot) target(v *view, n *node, tg target) {
	p, known := s.polls[tg]
	v.saw(p.lastOK)
	switch {
	case s.broken != "":
		v.add(StateUnknown, s.at, s.broken)
	case !known:
		v.add(StateUnknown, time.Time{}, fmt.Sprintf("target %s (%s) is not polled", tg.instance, tg.job))
	case s.fresh[tg] && p.partly && !s.itself(n):
		v.add(StateUnknown, time.Time{}, fmt.Sprintf("target %s (%s) is seen only in part", tg.instance, tg.job))
	case s.fresh[tg]:
		v.add(StateOK, time.Time{}, "")
	case p.lastOK.IsZero():
		v.add(StateUnknown, time.Time{}, fmt.Sprintf("target %s (%s) has not answered", tg.instance, tg.job))
	default:
		v.add(StateUnknown, p.lastOK, fmt.Sprintf("target %s (%s) not seen since %s", tg.instance, tg.job, p.lastOK.Format(time.RFC3339)))
	}
}

// itself tells whether an item of a target that was seen only in part was seen
// nevertheless: one that has a life of its own, such as an instance of a cloud,
// and that an observation has held in time. What is integral to its device, as
// an interface is, is no better seen than the device.
func (s *snapshot) itself(n *node) bool {
	if !n.named || n.integral {
		return false
	}
	_, ok := s.observed(n)
	return ok
}

// observed tells when an observation last held an item, and whether that is
// in time.
func (s *snapshot) observed(n *node) (seen time.Time, ok bool) {
	seen = n.item.LastSeen
	if it, ok := s.graph.Item(n.item.ID); ok {
		seen = it.LastSeen
	}
	limit := s.interval
	for _, p := range s.polls {
		if slices.Contains(n.item.Sources, p.labels.Get("job")) {
			limit = max(limit, p.interval(s.interval))
		}
	}
	return seen, !seen.IsZero() && s.at.Sub(seen) <= missedPolls*limit && !s.at.Before(n.item.FirstSeen)
}

// fact judges what its source names without a target of its own: an instance
// of a cloud. It is seen when an observation has held it in time.
func (s *snapshot) fact(v *view, n *node) {
	seen, ok := s.observed(n)
	v.saw(seen)
	if ok {
		v.add(StateOK, time.Time{}, "")
		return
	}
	v.add(StateUnknown, seen, "not seen since "+seen.UTC().Format(time.RFC3339))
}

// within judges an item by what stands in it.
func (s *snapshot) within(v *view, n *node, on *descent) {
	for _, id := range n.contents {
		in := s.tree.nodes[id]
		if in.excluded() {
			continue
		}
		if on.on[id] {
			on.cut = true
			continue
		}
		st := s.compute(id, on)
		v.saw(st.LastSeen)
		reason := ""
		if st.State != StateOK {
			reason = in.item.Name + ": " + first(st.Reasons)
		}
		v.add(st.State, st.Since, reason)
		v.alerts = append(v.alerts, st.Alerts...)
	}
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

func (s *snapshot) link(v *view, id string, on *descent) {
	l, ok := s.graph.Link(id)
	if !ok {
		v.add(StateUnknown, s.at, "not in the inventory")
		return
	}
	if l.Missing {
		v.add(StateUnknown, l.LastSeen, "neither end sees it any more")
	}
	for _, end := range []string{l.A, l.B} {
		st := s.compute(end, on)
		v.saw(st.LastSeen)
		v.add(st.State, st.Since, first(st.Reasons))
		v.alerts = append(v.alerts, st.Alerts...)
	}
}

// maintained puts maintenance over whatever was found.
func (s *snapshot) maintained(v *view, n *node) {
	if len(s.windows) == 0 {
		return
	}
	for _, id := range append([]string{n.item.ID}, n.above...) {
		if m, ok := s.windows[id]; ok {
			reason := fmt.Sprintf("maintenance until %s, by %s", m.To.UTC().Format(time.RFC3339), m.By)
			if m.Note != "" {
				reason += ": " + m.Note
			}
			v.findings = []finding{{StateMaintenance, m.From, reason}}
			return
		}
	}
}

// since keeps the time of a state that has not changed, and gives one that has
// no cause with a time this snapshot's.
func (s *snapshot) since(id string, st Status) time.Time {
	if old, ok := s.before[id]; ok && old.State == st.State && (st.Since.IsZero() || st.State == StateOK) {
		return old.Since
	}
	if st.Since.IsZero() {
		return s.at.UTC()
	}
	return st.Since
}
