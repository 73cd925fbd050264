package web

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/automation/inspection"
	"nocturne/automation/remedy"
	"nocturne/collector"
	"nocturne/internal/access"
	"nocturne/internal/backup"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
	"nocturne/tsdb/live"
)

// Options are what the pages show and act on. Those up to Inspections are
// needed.
type Options struct {
	History     *tsdb.DB
	Live        *live.Window
	Ledger      *ledger.Chain
	Access      *access.Access
	Graph       *inventory.Graph
	Collector   *collector.Scheduler
	Alerts      *alerting.Engine
	Jobs        *automation.Executor
	Remedies    []remedy.Remedy
	Inspections *inspection.Inspector

	// Write takes samples by remote write for the sender of that name. nil:
	// there is no such path.
	Write func(w http.ResponseWriter, r *http.Request, sender string)
	// Exposition writes the program's own metrics in Prometheus' text format.
	// nil: those of the process alone.
	Exposition func(w io.Writer)
	Metrics    map[string][]collector.Metric // what the targets of each kind have
	Metadata   *tsdb.Metadata                // what senders say of their metrics
	Interval   func() (poll, eval time.Duration)
	// Configuration is the file that all of this is told by. nil: there is none.
	Configuration Configuration
	// StateReadOnly says since when and why no record is written; nil while
	// they are. Its own absence: nobody asks.
	StateReadOnly func() (since time.Time, err error)
	// Receivers says how those fare that samples are sent on to. nil: none.
	Receivers func() []forward.Status
	Backup    *backup.Scheduler // nil: there is none

	// TrustedProxies may say for whom a request comes, and that it came over
	// HTTPS.
	TrustedProxies []netip.Prefix
	HSTS           time.Duration // how long browsers shall insist on HTTPS; 0 is not at all
	MaxBody        int64         // bytes of a form, or of a request of the API (4 MiB)

	Build    string    // version shown, and in the live stream
	Started  time.Time // of the program
	Settings []Setting // where data and configuration are, for the about page
	Faults   []string  // files that did not load at start, for the rules page
	Support  supporter // writes the support bundle. nil: there is none
	Lab      bool      // the data come from the simulated hall
	Log      *slog.Logger
}

// Setting is a line of the about page.
type Setting struct{ Name, Value string }

// Server answers HTTP.
type Server struct {
	Options
	log     *slog.Logger
	hub     *hub
	handler http.Handler

	replaced atomic.Pointer[Replaceable]
	figures  *tileBoard
}

// New builds the routes. It starts nothing.
func New(o Options) (*Server, error) {
	if o.History == nil || o.Live == nil || o.Ledger == nil || o.Access == nil || o.Graph == nil ||
		o.Collector == nil || o.Alerts == nil || o.Jobs == nil || o.Inspections == nil {
		return nil, errors.New("web: an option is missing")
	}
	if o.Exposition == nil {
		o.Exposition = func(w io.Writer) { metrics.WritePrometheus(w, true) }
	}
	o.MaxBody = cmp.Or(o.MaxBody, maxBody)
	s := &Server{Options: o, figures: newTileBoard(), log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("component", "web")}
	s.Replace(Replaceable{o.Remedies, o.Settings, o.Faults})
	s.hub = newHub(s)
	s.handler = s.routes()
	return s, nil
}

// Run feeds the live stream, and the figures of the overview, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.keepTiles(ctx) })
	return s.hub.run(ctx)
}

// Handler is the whole site.
func (s *Server) Handler() http.Handler { return s.handler }
