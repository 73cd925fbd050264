package web

import (
	"context"
	"slices"
	"time"
)

const (
	pickEvery = time.Minute
	pickAgain = 5 * time.Second // where nothing was there to choose from
	// feedBack is how far a feed looks back each second: what came late and
	// what has to settle still finds its place.
	feedBack = 12 * time.Second
)

// feed draws the panels of one item by the second, for all streams that look
// at it. The hub's mutex guards clients; the rest belongs to runCharts.
type feed struct {
	item    string
	clients map[*client]struct{}
	release func() // of the live window

	plots  []plot
	pickAt time.Time        // when to choose the plots anew
	last   map[string]int64 // the newest point told, by panel and key
}

// watch adds a stream to an item's feed. An item that nothing is drawn of by
// the second has none. It needs mu.
func (h *hub) watch(item string, c *client) {
	f := h.feeds[item]
	if f == nil {
		target := h.s.targetOf(item)
		if target == "" || !slices.ContainsFunc(panelsOf(item), func(p panel) bool { return p.Live && h.s.selectorOf(item, p.Job) != "" }) {
			return
		}
		f = &feed{item: item, clients: map[*client]struct{}{}, last: map[string]int64{}}
		f.release = h.s.Live.Watch(context.Background(), target) // until unwatch
		h.feeds[item] = f
	}
	f.clients[c] = struct{}{}
}

// unwatch takes a stream out; with the last one the item is watched no more.
// It needs mu.
func (h *hub) unwatch(item string, c *client) {
	f := h.feeds[item]
	if f == nil {
		return
	}
	delete(f.clients, c)
	if len(f.clients) == 0 {
		f.release()
		delete(h.feeds, item)
	}
}

// runCharts draws all feeds each second, beside the states so that neither
// waits for the other.
func (h *hub) runCharts(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, f := range h.allFeeds() {
				h.draw(ctx, f, now)
			}
			chartSeconds.UpdateDuration(now)
		}
	}
}

func (h *hub) allFeeds() []*feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*feed, 0, len(h.feeds))
	for _, f := range h.feeds {
		out = append(out, f)
	}
	return out
}

// draw sends the points of an item that are new. A second is drawn one second
// later, when its samples are here.
func (h *hub) draw(ctx context.Context, f *feed, now time.Time) {
	if !now.Before(f.pickAt) {
		f.plots, f.pickAt = h.plots(ctx, f.item, now), now.Add(pickEvery)
		if slices.ContainsFunc(f.plots, plot.empty) {
			f.pickAt = now.Add(pickAgain)
		}
	}
	to := now.Add(-time.Second)
	for _, p := range f.plots {
		series, err := h.s.fine(ctx, p, to.Add(-feedBack), to)
		if err != nil {
			if ctx.Err() == nil {
				h.s.log.Error("draw live points", "item", f.item, "panel", p.Name, "err", err)
			}
			continue
		}
		var fresh []map[string]any
		for _, c := range series {
			key := p.Name + "\x00" + c.Key
			told := f.last[key]
			pts := slices.DeleteFunc(c.Pts, func(x chartPoint) bool { return x.T <= told })
			if len(pts) > 0 {
				f.last[key] = pts[len(pts)-1].T
				fresh = append(fresh, map[string]any{"key": c.Key, "pts": pts})
			}
		}
		if len(fresh) > 0 {
			h.broadcast("points", map[string]any{"t": seconds(now), "item": f.item, "panel": p.Name, "series": fresh}, func(c *client) bool {
				return slices.Contains(c.topics.charts, f.item)
			})
		}
	}
}

func (h *hub) plots(ctx context.Context, item string, now time.Time) []plot {
	var out []plot
	for _, p := range panelsOf(item) {
		if !p.Live || h.s.selectorOf(item, p.Job) == "" {
			continue
		}
		made, err := h.s.plotOf(ctx, item, p, now.Add(-spans["hour"]), now)
		if err != nil {
			h.s.log.Error("choose what to draw", "item", item, "panel", p.Name, "err", err)
			continue
		}
		out = append(out, made)
	}
	return out
}
