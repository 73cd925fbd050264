package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nocturne/automation"
)

const (
	writeWithin = 10 * time.Second // a stream that takes nothing for so long is dead
	askAgain    = 5 * time.Second  // whether the session still holds
	maxTopics   = 32
)

// topics are what a stream wants besides the states of all items.
type topics struct {
	alerts  bool
	figures bool
	drawn   uint64 // of the figures that the page shows
	jobs    []string
	charts  []string // items
}

var topicNames = []string{"status", "alerts", "figures:", "job:", "chart:"}

// parseTopics reads a list with commas between. A comma within a topic is
// known by what follows: it is no topic. What nobody knows is left out.
func parseTopics(list string) topics {
	var all []string
	for part := range strings.SplitSeq(list, ",") {
		known := slices.ContainsFunc(topicNames, func(n string) bool {
			return part == n || strings.HasSuffix(n, ":") && strings.HasPrefix(part, n)
		})
		if known || len(all) == 0 {
			all = append(all, part)
		} else {
			all[len(all)-1] += "," + part
		}
	}
	var t topics
	for _, topic := range all[:min(len(all), maxTopics)] {
		if topic == "alerts" {
			t.alerts = true
		} else if n, ok := strings.CutPrefix(topic, "figures:"); ok {
			// A number that is none is never the present one.
			t.figures = true
			t.drawn, _ = strconv.ParseUint(n, 10, 64)
		} else if id, ok := strings.CutPrefix(topic, "job:"); ok && !slices.Contains(t.jobs, id) {
			t.jobs = append(t.jobs, id)
		} else if id, ok := strings.CutPrefix(topic, "chart:"); ok && !slices.Contains(t.charts, id) {
			t.charts = append(t.charts, id)
		}
	}
	return t
}

// live is the stream of a page: server-sent events, a snap first, until the
// client goes, the session is over or the program ends.
func (s *Server) live(w http.ResponseWriter, r *http.Request) error {
	since, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
	if err != nil {
		since = 0
	}
	c, err := s.hub.join(parseTopics(r.URL.Query().Get("topics")))
	if err != nil {
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return nil
	}
	defer s.hub.leave(c)
	st := &stream{w: w, rc: http.NewResponseController(w)}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	// What the stream itself does with its connection is not an error of a
	// request: the client is gone, or will come again.
	if st.raw("retry: 2000\n\n") != nil {
		return nil
	}
	if err := st.rc.SetReadDeadline(time.Time{}); err != nil {
		s.log.Debug("a stream keeps the server's read deadline", "err", err)
	}
	s.serveStream(r, c, st, since)
	return nil
}

// serveStream writes what comes until it ends. Jobs are followed by the stream
// itself, at its own pace, once the snap is out.
func (s *Server) serveStream(r *http.Request, c *client, st *stream, since int64) {
	var followers sync.WaitGroup
	defer followers.Wait()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	actor := actorOf(ctx)
	ask := time.NewTicker(askAgain)
	defer ask.Stop()
	lines := make(chan event)
	followed := false
	for {
		var err error
		select {
		case <-c.lost: // before all that still waits in the queue
			_ = st.send(event{"resync", []byte("{}")})
			return
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-s.hub.done:
			return
		case <-c.lost:
		case e := <-c.queue:
			if err = st.send(e); err == nil && !followed {
				followed = true
				for _, id := range c.topics.jobs {
					followers.Go(func() { s.followJob(ctx, id, since, lines) })
				}
			}
		case e := <-lines:
			err = st.send(e)
		case <-ask.C:
			if now, err := s.authenticate(r); err != nil || now.Name != actor.Name || !now.May("view") {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// stream writes events with a deadline each.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (st *stream) raw(text string) error {
	if err := st.rc.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return fmt.Errorf("set a stream's deadline: %w", err)
	}
	if _, err := st.w.Write([]byte(text)); err != nil {
		return err
	}
	if err := st.rc.Flush(); err != nil {
		return err
	}
	// Over HTTP/2 a deadline would end the stream while nothing is to be sent.
	return st.rc.SetWriteDeadline(time.Time{})
}

func (st *stream) send(e event) error {
	return st.raw("event: " + e.name + "\ndata: " + string(e.data) + "\n\n")
}

// followJob sends a job's phase, its output after line since and then all that
// happens, each line once and in order. The output is read from the records
// wherever events were missed.
func (s *Server) followJob(ctx context.Context, id string, since int64, out chan<- event) {
	events := s.Jobs.Watch(ctx, id)
	f := follower{s: s, ctx: ctx, id: id, last: since, out: out}
	if !f.catchUp() {
		return
	}
	for e := range events {
		switch {
		case e.Resync:
			if !f.catchUp() {
				return
			}
		case e.Line != nil && e.Line.Seq == f.last+1:
			f.line(*e.Line)
		case e.Line != nil && e.Line.Seq > f.last:
			f.output()
		case e.Line == nil:
			f.send("job", map[string]any{"job": id, "phase": e.Phase, "host": e.Host, "step": e.Step, "stepPhase": e.StepPhase})
		}
	}
}

// follower is how far a stream has followed one job.
type follower struct {
	s    *Server
	ctx  context.Context // of the stream
	id   string
	last int64 // line
	out  chan<- event
}

func (f *follower) send(name string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		f.s.log.Error("encode live event", "event", name, "err", err)
		return
	}
	select {
	case f.out <- event{name, b}:
	case <-f.ctx.Done():
	}
}

func (f *follower) line(l automation.OutputLine) {
	f.last = l.Seq
	f.send("line", map[string]any{"job": f.id, "seq": l.Seq, "at": l.At, "host": l.Host, "step": l.Step, "text": l.Text})
}

// catchUp tells the job's phase and reads its output. A job that is not there
// is not followed.
func (f *follower) catchUp() bool {
	j, err := f.s.Jobs.Job(f.id)
	if err != nil {
		return false
	}
	f.output()
	f.send("job", map[string]any{"job": f.id, "phase": j.Phase})
	return f.ctx.Err() == nil
}

func (f *follower) output() {
	lines, err := f.s.Jobs.Output(f.id, f.last+1)
	if err != nil {
		f.s.log.Error("read a job's output", "job", f.id, "err", err)
		return
	}
	for _, l := range lines {
		f.line(l)
	}
}
