package inventory

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"nocturne/internal/state"
)

// checkpointEvery bounds how old LastSeen may be after a restart.
const checkpointEvery = time.Minute

// Graph holds all items and relations in memory and each change on disk. It is
// safe for concurrent use; readers never wait for the disk.
type Graph struct {
	records *state.Table[record]
	targets *state.Table[checkpoint]
	aside   *state.Table[part]

	write   sync.Mutex             // one change at a time: held from reading to installing it; guards the next two
	decided []state.Record[record] // are in the graph, and not all written out yet
	parts   []string               // that are to be removed behind them

	mu       sync.RWMutex // guards all below; changed only with write held too
	nodes    map[string]*node
	kinds    map[string][]string            // kind -> IDs, sorted
	into     map[string]map[string]struct{} // To -> From of current relations
	seers    map[string]map[string]struct{} // source/target -> items it sees
	names    nameIndex
	series   seriesIndex
	linked   map[string]struct{} // items with a current connected-to relation
	unpaired map[string]struct{} // interfaces whose neighbour is not resolved
	complete map[string]time.Time
	limited  map[string]bool // seers that see only a part of what there is
	dirty    map[string]bool // targets whose checkpoint is not written yet
	rev      uint64
	changed  chan struct{}
}

type node struct {
	rec      *record
	item     Item // without LastSeen
	lastSeen time.Time
	linkSeen time.Time // when its neighbour was last heard and resolved
}

// checkpoint is the time of a target's last complete observation.
type checkpoint struct {
	At time.Time `json:"at"`
}

// Open reads the graph from db.
func Open(db *state.DB) (*Graph, error) {
	return load(state.NewTable[record](db, "inventory.item", 1), state.NewTable[checkpoint](db, "inventory.target", 1),
		state.NewTable[part](db, "inventory.part", 1))
}

func load(records *state.Table[record], targets *state.Table[checkpoint], aside *state.Table[part]) (*Graph, error) {
	g := &Graph{
		records: records, targets: targets, aside: aside,
		nodes: map[string]*node{}, kinds: map[string][]string{},
		into: map[string]map[string]struct{}{}, seers: map[string]map[string]struct{}{},
		names: nameIndex{}, series: seriesIndex{},
		linked: map[string]struct{}{}, unpaired: map[string]struct{}{},
		complete: map[string]time.Time{}, limited: map[string]bool{}, dirty: map[string]bool{},
		changed: make(chan struct{}),
	}
	for rec, err := range targets.All("") {
		if err != nil {
			return nil, fmt.Errorf("read the inventory's targets: %w", err)
		}
		g.complete[rec.ID] = rec.Value.At
	}
	for rec, err := range records.All("") {
		if err != nil {
			return nil, fmt.Errorf("read the inventory: %w", err)
		}
		g.restore(&rec.Value)
	}
	if err := g.recall(); err != nil {
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	g.order(nil)
	if err := g.finish(); err != nil {
		slog.Error("an import that was cut short is not written out yet", "component", "inventory", "err", err)
	}
	return g, nil
}

// restore installs a record as it was read.
func (g *Graph) restore(r *record) {
	g.install(r, g.restoredLastSeen(r))
	n := g.nodes[r.ID]
	n.linkSeen = n.lastSeen
}

func (g *Graph) restoredLastSeen(r *record) time.Time {
	t := r.LastSeen
	for seer, sees := range r.Seers {
		if at := g.complete[seer]; sees && at.After(t) {
			t = at
		}
	}
	return t
}

// Run writes checkpoints until ctx ends, and once more then.
func (g *Graph) Run(ctx context.Context) error {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return g.checkpoint()
		case <-tick.C:
			if err := g.checkpoint(); err != nil {
				slog.Error("inventory checkpoint not written", "component", "inventory", "err", err)
			}
		}
	}
}

func (g *Graph) checkpoint() error {
	g.mu.Lock()
	var recs []state.Record[checkpoint]
	for seer := range g.dirty {
		recs = append(recs, state.Record[checkpoint]{ID: seer, Value: checkpoint{At: g.complete[seer]}})
	}
	clear(g.dirty)
	g.mu.Unlock()
	if len(recs) == 0 {
		return nil
	}
	if err := g.targets.PutMany(recs); err != nil {
		g.mu.Lock()
		for _, r := range recs {
			g.dirty[r.ID] = true
		}
		g.mu.Unlock()
		return fmt.Errorf("write when %d targets were last seen: %w", len(recs), err)
	}
	return nil
}

// Item returns an item; a link is an item too.
func (g *Graph) Item(id string) (Item, bool) {
	if kindOf(id) == "link" {
		l, ok := g.Link(id)
		return l.item(), ok
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	n, ok := g.nodes[id]
	if !ok {
		return Item{}, false
	}
	return n.view(), true
}

func (n *node) view() Item {
	it := n.item
	it.LastSeen = n.lastSeen
	return it
}

// Items returns the items of a kind ("" for all but links), by ID.
func (g *Graph) Items(kind string) []Item {
	if kind == "link" {
		var out []Item
		for _, l := range g.Links() {
			out = append(out, l.item())
		}
		return out
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []Item
	for _, k := range g.kindsOf(kind) {
		out = slices.Grow(out, len(g.kinds[k]))
		for _, id := range g.kinds[k] {
			out = append(out, g.nodes[id].view())
		}
	}
	return out
}

func (g *Graph) kindsOf(kind string) []string {
	if kind != "" {
		return []string{kind}
	}
	var all []string
	for k := range g.kinds {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// Relations returns the relations that hold now from or to an item.
func (g *Graph) Relations(id string) []Relation {
	return g.relations(id, Relation.current)
}

// RelationsAt returns the relations from or to an item that held at t.
func (g *Graph) RelationsAt(id string, t time.Time) []Relation {
	return g.relations(id, func(r Relation) bool {
		return !t.Before(r.Since) && (r.Until.IsZero() || t.Before(r.Until))
	})
}

func (g *Graph) relations(id string, holds func(Relation) bool) []Relation {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []Relation
	if n := g.nodes[id]; n != nil {
		for _, r := range n.rec.Relations {
			if holds(r) {
				out = append(out, r)
			}
		}
	}
	for from := range g.into[id] {
		for _, r := range g.nodes[from].rec.Relations {
			if r.To == id && from != id && holds(r) {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, compareRelations)
	return out
}

// Parents returns what carries an item, nearest first: the device of an
// interface, its rack, its room, its site; the hypervisor of an instance and
// what that stands in. What is not in the inventory is left out.
func (g *Graph) Parents(id string) []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.reach(id, func(id string) []string {
		n := g.nodes[id]
		if n == nil {
			return nil
		}
		var up []string
		for _, typ := range upward {
			if r, ok := best(n.rec.Relations, typ); ok {
				up = append(up, r.To)
			}
		}
		return up
	})
}

// Dependents returns all that an item carries or that depends on it, nearest
// first: what its loss would touch.
func (g *Graph) Dependents(id string) []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.reach(id, func(id string) []string {
		var down []string
		for from := range g.into[id] {
			for _, r := range g.nodes[from].rec.Relations {
				if r.To == id && r.current() && r.Type != ConnectedTo && r.Type != MemberOf {
					down = append(down, from)
					break
				}
			}
		}
		slices.Sort(down)
		return down
	})
}

// reach walks breadth first; a cycle ends it.
func (g *Graph) reach(id string, next func(string) []string) []string {
	seen := map[string]bool{id: true}
	var out []string
	for queue := []string{id}; len(queue) > 0; queue = queue[1:] {
		for _, to := range next(queue[0]) {
			if seen[to] || g.nodes[to] == nil {
				continue
			}
			seen[to] = true
			out = append(out, to)
			queue = append(queue, to)
		}
	}
	return out
}

// best picks the current relation of a type whose source ranks highest.
func best(rels []Relation, typ string) (Relation, bool) {
	var out Relation
	found := false
	for _, r := range rels {
		if r.Type != typ || !r.current() {
			continue
		}
		if !found || rank(r.Source) > rank(out.Source) || rank(r.Source) == rank(out.Source) && r.Since.After(out.Since) {
			out, found = r, true
		}
	}
	return out, found
}

// Rev changes whenever anything but LastSeen does.
func (g *Graph) Rev() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.rev
}

// Changed returns a channel that is closed at the next change of Rev. Take it
// before reading, so that no change falls between.
func (g *Graph) Changed() <-chan struct{} {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.changed
}
