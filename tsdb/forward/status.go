package forward

import (
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Status is how a receiver fares. Counts are since the start.
type Status struct {
	Name     string
	URL      string    // without its query, which may hold a token
	Protocol string    // spoken at present
	Position time.Time // of the newest sample that was answered for; zero for none
	// Lag is from Position, or the oldest sample owed, until now; 0 while
	// nothing waits. Where the receiver stands is taken for the oldest sample
	// held until it is known.
	Lag     time.Duration
	Waiting int64 // bytes of log behind the position
	Pending int   // samples being sent
	Sent    int64 // samples accepted
	Refused int64 // samples the receiver did not want
	Dropped int64 // samples left out by a rule
	Retries int64 // requests that were, or will be, sent again
	Skipped int64 // histograms and records of them, which are not forwarded
	// Unread counts how often samples of a series were left out since they
	// cannot be read from the blocks.
	Unread int64
	// CatchUpFrom and CatchUpTo bound what is still to be read from the
	// blocks; zero while the log suffices.
	CatchUpFrom, CatchUpTo time.Time
	LastError              string
	LastErrorAt            time.Time
	Failing                bool // the last answer left samples waiting
}

// figures are what a Status is made of, and the metrics beside it.
type figures struct {
	sent, refused, dropped, retries, strange, unreadable, pending atomic.Int64

	sentTotal, refusedTotal, droppedTotal, retriesTotal, unreadTotal *metrics.Counter

	seconds            *metrics.Histogram
	lag, behind        *metrics.Gauge
	sayIll, sayRefused seldom

	mu      sync.Mutex
	pos     position
	idle    bool // the end of the log was reached after pos
	err     string
	errAt   time.Time
	failing bool
}

func (f *figures) init(name string) {
	counter := func(what string) *metrics.Counter {
		return metrics.GetOrCreateCounter(fmt.Sprintf(`nocturne_forward_%s{receiver=%q}`, what, name))
	}
	f.sentTotal, f.refusedTotal = counter("samples_total"), counter("samples_refused_total")
	f.droppedTotal, f.retriesTotal = counter("samples_dropped_total"), counter("retries_total")
	f.unreadTotal = counter("unreadable_total")
	f.seconds = metrics.GetOrCreateHistogram(fmt.Sprintf(`nocturne_forward_request_duration_seconds{receiver=%q}`, name))
	f.lag = metrics.GetOrCreateGauge(fmt.Sprintf(`nocturne_forward_lag_seconds{receiver=%q}`, name), nil)
	f.behind = metrics.GetOrCreateGauge(fmt.Sprintf(`nocturne_forward_waiting_bytes{receiver=%q}`, name), nil)
	f.pos = beginning()
}

func (f *figures) accept(n int) {
	f.sent.Add(int64(n))
	f.sentTotal.Add(n)
}

func (f *figures) drop(n int) {
	f.dropped.Add(int64(n))
	f.droppedTotal.Add(n)
}

// refuse tells whether to say it.
func (f *figures) refuse(n int, err error) bool {
	f.refused.Add(int64(n))
	f.refusedTotal.Add(n)
	f.note(err)
	return f.sayRefused.now()
}

func (f *figures) unread(err error) {
	f.unreadable.Add(1)
	f.unreadTotal.Inc()
	f.note(err)
}

func (f *figures) answered(a answer, took time.Duration) {
	f.seconds.Update(took.Seconds())
	if a.verdict != accepted && a.verdict != refused {
		f.retries.Add(1)
		f.retriesTotal.Inc()
	}
}

func (f *figures) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.errAt = err.Error(), time.Now()
}

// ill tells whether to say it: at first, and now and then.
func (f *figures) ill(err error) bool {
	f.note(err)
	f.mu.Lock()
	first := !f.failing
	// Whether the end of the log is still the end is not known.
	f.failing, f.idle = true, false
	f.mu.Unlock()
	return f.sayIll.now() || first
}

// well tells whether it was ill.
func (f *figures) well() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.failing
	f.failing = false
	return was
}

func (f *figures) moved(p position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pos, f.idle = p, false
}

func (f *figures) atEnd() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = true
}

func (r *receiver) status() Status {
	f := &r.figures
	f.mu.Lock()
	p, idle := f.pos, f.idle
	s := Status{
		Name: r.to.Name, URL: bare(r.to.URL), Protocol: *r.protocol.Load(), Pending: int(f.pending.Load()),
		Sent: f.sent.Load(), Refused: f.refused.Load(), Dropped: f.dropped.Load(), Retries: f.retries.Load(), Skipped: f.strange.Load(), Unread: f.unreadable.Load(),
		LastError: f.err, LastErrorAt: f.errAt, Failing: f.failing,
	}
	f.mu.Unlock()
	if !idle || p.behind() {
		s.Waiting = logBehind(r.source.LogDir(), p)
	}
	if p.Newest > math.MinInt64 {
		s.Position = time.UnixMilli(p.Newest).UTC()
	}
	if oldest, _, ok := r.source.Bounds(); ok && (!idle || s.Pending > 0 || p.behind()) {
		since := max(p.Newest, oldest)
		if p.behind() {
			since = min(since, max(p.From, oldest))
		}
		s.Lag = max(0, time.Since(time.UnixMilli(since)))
	}
	if p.behind() {
		s.CatchUpFrom, s.CatchUpTo = time.UnixMilli(p.From).UTC(), time.UnixMilli(p.To).UTC()
	}
	return s
}

func bare(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return address
}

// measure sets the gauges.
func (r *receiver) measure() {
	s := r.status()
	r.figures.lag.Set(s.Lag.Seconds())
	r.figures.behind.Set(float64(s.Waiting))
}

// logBehind is how many bytes of log a position has before it.
func logBehind(dir string, p position) int64 {
	_, last, err := wlog.Segments(dir)
	if err != nil {
		return 0 // the next look will tell
	}
	var n int64
	for i := p.Segment; i <= last; i++ {
		if st, err := os.Stat(wlog.SegmentName(dir, i)); err == nil {
			n += st.Size()
		}
	}
	return max(0, n-p.Offset)
}
