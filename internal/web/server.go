package web

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

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
	Write    func(w http.ResponseWriter, r *http.Request, sender string)
	Metrics  map[string][]collector.Metric // what the targets of each kind have
	Metadata *tsdb.Metadata                // what senders say of their metrics
	Interval func() (poll, eval time.Duration)
	// Receivers says how those fare that samples are sent on to. nil: none.
	Receivers func() []forward.Status
	Backup    *backup.Scheduler // nil: there is none

	Build    string    // version shown, and in the live stream
	Started  time.Time // of the program
	Settings []Setting // where data and configuration are, for the about page
	Faults   []string  // files that did not load at start, for the rules page
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

	verified atomic.Pointer[verification] // the last check of the ledger
	figures  *tileBoard
}

// New builds the routes. It starts nothing.
func New(o Options) (*Server, error) {
	if o.History == nil || o.Live == nil || o.Ledger == nil || o.Access == nil || o.Graph == nil ||
		o.Collector == nil || o.Alerts == nil || o.Jobs == nil || o.Inspections == nil {
		return nil, errors.New("web: an option is missing")
	}
	s := &Server{Options: o, figures: newTileBoard(), log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("component", "web")}
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
