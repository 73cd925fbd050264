package web

import (
	"context"
	"slices"
	"time"
)

const (
	pickEvery = time.Minute
	pickAgain = 5 * time.Second // where nothing was there to choose from
	// drawEvery is the pace of a feed: how often its panels are drawn at most.
	drawEvery = time.Second
	// feedBack is how far a drawing looks back behind the last one: what came
	// late and what has to settle still finds its place.
	feedBack = 12 * time.Second
)

// feed draws the panels of one item by the second, for all streams that look
// at it. The hub's mutex guards clients; the rest belongs to follow.
type feed struct {
	item    string
	clients map[*client]struct{}
	release func() // ends follow

	plots  []plot
	pickAt time.Time        // when to choose the plots anew
	drawn  time.Time        // up to where
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
		news, leave := h.s.Live.Watch(target)
		ctx, cancel := context.WithCancel(context.Background()) // until unwatch
		f = &feed{item: item, clients: map[*client]struct{}{}, drawn: time.Now(), last: map[string]int64{}}
		f.release = func() { cancel(); leave() }
		h.feeds[item] = f
		h.followers.Go(func() { h.follow(ctx, f, news) })
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

// follow draws a feed at the news that its target has new points, until it is
// released. What comes faster than the pace is drawn together.
func (h *hub) follow(ctx context.Context, f *feed, news <-chan int64) {
	pace := time.NewTicker(h.pace)
	defer pace.Stop()
	for newest := range news {
		h.draw(ctx, f, time.UnixMilli(newest))
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
	}
}

// draw sends the points of an item that are new. The samples of a poll come at
// once, so that all seconds up to the newest sample are whole. They are read
// from where the last drawing ended, however long ago that was.
func (h *hub) draw(ctx context.Context, f *feed, newest time.Time) {
	h.drawing.Lock()
	defer h.drawing.Unlock()
	now := time.Now()
	defer chartSeconds.UpdateDuration(now)
	if !now.Before(f.pickAt) {
		f.plots, f.pickAt = h.plots(ctx, f.item, now), now.Add(pickEvery)
		if slices.ContainsFunc(f.plots, plot.empty) {
			f.pickAt = now.Add(pickAgain)
		}
	}
	if now.Before(newest) {
		newest = now // one ahead of the clock does not hide the others
	}
	back := feedBack + min(max(0, newest.Sub(f.drawn)), liveSpan)
	f.drawn = newest
	for _, p := range f.plots {
		series, err := h.s.fine(ctx, p, newest.Add(-back), newest)
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
			if ctx.Err() == nil {
				h.s.log.Error("choose what to draw", "item", item, "panel", p.Name, "err", err)
			}
			continue
		}
		out = append(out, made)
	}
	return out
}
