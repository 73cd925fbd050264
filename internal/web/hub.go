package web

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/alerting"
	"nocturne/views/ui"
)

const (
	statusEvery = time.Second
	beatEvery   = 5 * time.Second
	queueLength = 64
	maxStreams  = 1024
)

var (
	streams       = metrics.GetOrCreateGauge(`nocturne_web_streams`, nil)
	resyncs       = metrics.GetOrCreateCounter(`nocturne_web_stream_resyncs_total`)
	statusSeconds = metrics.GetOrCreateHistogram(`nocturne_web_status_duration_seconds`)
	chartSeconds  = metrics.GetOrCreateHistogram(`nocturne_web_live_charts_duration_seconds`)
)

// hub works out once what all streams show, and gives each its part. It never
// waits for a stream: one that does not keep up loses its queue and is told.
type hub struct {
	s    *Server
	wake chan struct{} // of capacity 1: somebody waits for a snap
	done chan struct{} // closed when run has ended
	pace time.Duration // of the feeds, see drawEvery

	followers sync.WaitGroup // of feeds
	drawing   sync.Mutex     // one feed draws at a time: charts take one core at most

	mu      sync.Mutex // guards below
	closed  bool
	clients map[*client]struct{}
	feeds   map[string]*feed // charts that somebody looks at, by item

	board     board // what was told last; run's alone, as is the next
	alertsDue bool
}

// client is one stream, as the hub sees it.
type client struct {
	topics topics
	queue  chan event
	lost   chan struct{} // closed when an event found no room
	drop   sync.Once

	mu      sync.Mutex // guards greeted, so that no event overtakes the snap
	greeted bool
}

// event is one message of a stream.
type event struct {
	name string
	data []byte
}

// board is the state of all items at one time.
type board struct {
	at     time.Time
	states map[string]ui.State
	tally  ui.Tally
	asOf   map[string]int64 // Unix seconds of each target's last good poll
	seq    uint64           // of the last delta
	items  json.RawMessage  // states, encoded when first needed

	ids []string // of all items and links, as of rev
	rev uint64
}

func newHub(s *Server) *hub {
	return &hub{s: s, wake: make(chan struct{}, 1), done: make(chan struct{}), pace: drawEvery, clients: map[*client]struct{}{}, feeds: map[string]*feed{}}
}

// run feeds the streams until ctx ends; then all of them end.
func (h *hub) run(ctx context.Context) error {
	defer h.close()
	tick, beat := time.NewTicker(statusEvery), time.NewTicker(beatEvery)
	defer tick.Stop()
	defer beat.Stop()
	changed := h.s.Alerts.Subscribe(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
			h.greet()
		case <-changed:
			h.alertsDue = true
		case <-tick.C:
			h.tick()
		case <-beat.C:
			h.broadcast("hb", h.beat(time.Now()), nil)
		}
	}
}

// beat is what a heartbeat tells every page.
func (h *hub) beat(now time.Time) map[string]any {
	return map[string]any{"t": seconds(now), "seq": h.board.seq, "asOf": h.asOf(), "readOnly": h.s.readOnlyWord()}
}

// close ends all streams and waits for those who draw for them.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	close(h.done)
	for _, f := range h.feeds {
		f.release()
	}
	clear(h.feeds)
	h.mu.Unlock()
	h.followers.Wait()
}

var (
	errClosing = errors.New("the program is ending")
	errCrowded = errors.New("too many live streams")
)

// join takes a stream in. It is sent a snap first.
func (h *hub) join(t topics) (*client, error) {
	c := &client{topics: t, queue: make(chan event, queueLength), lost: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosing
	}
	if len(h.clients) >= maxStreams {
		return nil, errCrowded
	}
	h.clients[c] = struct{}{}
	streams.Inc()
	for _, item := range t.charts {
		h.watch(item, c)
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return c, nil
}

func (h *hub) leave(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.clients, c)
	streams.Dec()
	for _, item := range c.topics.charts {
		h.unwatch(item, c)
	}
}

func (h *hub) everybody() []*client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.clients))
}

// push hands an event over, or gives the stream up.
func (c *client) push(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.greeted && e.name != "snap" {
		return
	}
	c.greeted = true
	select {
	case c.queue <- e:
	default:
		c.drop.Do(func() {
			resyncs.Inc()
			close(c.lost)
		})
	}
}

func (c *client) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.greeted
}

// broadcast sends an event to all that want it; nil wants are all.
func (h *hub) broadcast(name string, data any, wants func(*client) bool) {
	b, err := json.Marshal(data)
	if err != nil {
		h.s.log.Error("encode live event", "event", name, "err", err)
		return
	}
	for _, c := range h.everybody() {
		if wants == nil || wants(c) {
			c.push(event{name, b})
		}
	}
}

// tick tells what changed since the last tick. With nobody there it is not
// worked out.
func (h *hub) tick() {
	if len(h.everybody()) == 0 {
		h.alertsDue = false
		return
	}
	h.refresh()
	h.greet()
	if h.alertsDue {
		h.alertsDue = false
		h.broadcast("frag", map[string]any{"t": seconds(time.Now()), "topic": "alerts", "count": h.s.firing()}, func(c *client) bool { return c.topics.alerts })
	}
}

// greet sends a snap to those that wait for one.
func (h *hub) greet() {
	waiting := slices.DeleteFunc(h.everybody(), func(c *client) bool { return !c.waits() })
	if len(waiting) == 0 {
		return
	}
	if time.Since(h.board.at) > statusEvery+statusEvery/2 {
		h.refresh()
	}
	b := &h.board
	if b.items == nil {
		items, err := json.Marshal(b.states)
		if err != nil {
			h.s.log.Error("encode live event", "event", "snap", "err", err)
			return
		}
		b.items = items
	}
	snap, err := json.Marshal(map[string]any{
		"items": b.items, "tally": b.tally, "seq": b.seq, "t": seconds(time.Now()), "build": h.s.Build, "asOf": b.asOf,
	})
	if err != nil {
		h.s.log.Error("encode live event", "event", "snap", "err", err)
		return
	}
	for _, c := range waiting {
		c.push(event{"snap", snap})
	}
	// A page may have been drawn before the figures that are there now.
	_, drawn := h.s.figures.now()
	h.tellFigures(func(c *client) bool { return c.topics.drawn != drawn && slices.Contains(waiting, c) })
}

// tellFigures tells those that show the figures that there are newer ones;
// nil among are all.
func (h *hub) tellFigures(among func(*client) bool) {
	h.broadcast("frag", map[string]any{"t": seconds(time.Now()), "topic": "figures"}, func(c *client) bool {
		return c.topics.figures && (among == nil || among(c))
	})
}

// refresh looks at all items anew and sends the differences. An item that is
// no more has no state to tell.
func (h *hub) refresh() {
	start := time.Now()
	defer statusSeconds.UpdateDuration(start)
	old := h.board
	h.board = h.look(old)
	changes := [][2]string{}
	for id, st := range h.board.states {
		if old.states[id] != st {
			changes = append(changes, [2]string{id, string(st)})
		}
	}
	if len(changes) == 0 && len(old.states) == len(h.board.states) && maps.Equal(old.tally, h.board.tally) {
		h.board.items = old.items
		return
	}
	slices.SortFunc(changes, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	h.board.seq++
	h.broadcast("delta", map[string]any{
		"seq": h.board.seq, "t": seconds(start), "ch": changes, "tally": h.board.tally, "asOf": h.board.asOf,
	}, nil)
}

func (h *hub) look(old board) board {
	b := board{at: time.Now(), states: map[string]ui.State{}, asOf: h.asOf(), seq: old.seq, ids: old.ids, rev: h.s.Graph.Rev()}
	if old.states == nil || b.rev != old.rev {
		b.ids = nil
		for _, it := range h.s.Graph.Items("") {
			b.ids = append(b.ids, it.ID)
		}
	}
	counts := map[alerting.State]int{}
	for id, st := range h.s.Alerts.Statuses(b.ids) {
		b.states[id] = stateOf(st.State)
		if kind, _, _ := strings.Cut(id, "/"); slices.Contains(walled, kind) {
			counts[st.State]++
		}
	}
	b.tally = tallyOf(counts)
	for _, l := range h.s.Graph.Links() {
		b.states[l.ID] = h.s.linkState(l)
	}
	return b
}

func (h *hub) asOf() map[string]int64 {
	out := map[string]int64{}
	for _, t := range h.s.Collector.Status() {
		if !t.LastOK.IsZero() {
			out[t.Target.Name] = t.LastOK.Unix()
		}
	}
	return out
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
