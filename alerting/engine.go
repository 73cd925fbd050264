package alerting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

// Options are what an Engine works with. DB, State, Ledger and Graph must be
// set.
type Options struct {
	DB        *tsdb.DB
	State     *state.DB
	Ledger    *ledger.Chain
	Graph     *inventory.Graph
	RuleFiles []File
	Notifiers []Notifier

	Interval     time.Duration // of groups that name none; 15 s
	PollInterval time.Duration // of targets until their samples tell it; 30 s
	Repeat       time.Duration // between notifications of what goes on; 4 h
	ExternalURL  string        // where people find the pages; in notifications and templates
	Log          *slog.Logger  // nil: slog.Default()
}

// Engine evaluates rules and keeps the alerts. It is safe for concurrent use.
type Engine struct {
	o   Options
	log *slog.Logger

	// turn is held for reading by an evaluation and for writing by Replace.
	turn sync.RWMutex
	// These are written with turn and mu both held for writing: either will do
	// to read them.
	groups   []*group
	faults   []*RuleError
	byKey    map[string]*rule
	replaced chan struct{} // closed when they are

	alerts      *state.Table[record]
	incidents   *state.Table[Incident]
	windows     *state.Table[Maintenance]
	transitions *state.Log[Transition]
	outbox      *outbox
	signal      *signal

	incident sync.Mutex // one change of the incidents at a time
	snapping sync.Mutex // one snapshot at a time

	mu        sync.RWMutex           // guards below
	active    map[string]*tracked    // pending and firing, by fingerprint
	unwritten map[string]change      // not taken whole by the store, by fingerprint
	open      map[string]Incident    // by what they are about
	planned   map[string]Maintenance // not over yet, by ID
	health    map[*rule]RuleStatus
	statuses  statusBoard
}

// record is one episode on disk.
type record struct {
	Alert  Alert         `json:"alert"`
	Series labels.Labels `json:"series"` // of the rule's result, without the rule's own labels
	RuleID string        `json:"rule_id"`
	TrueAt time.Time     `json:"true_at"` // a time at which the rule was true
}

// tracked is an alert that is pending or firing. A value is never changed:
// the map gets a new one.
type tracked struct {
	rec record
	// since is the last evaluation that was true or, for what came out of a
	// restart, the start: samples must be newer to prove that it is over.
	since     time.Time
	keepUntil time.Time // keep_firing_for, once the condition is gone
}

// New reads the rules and the alerts of the last run. Rules that do not parse
// are logged, told by RuleErrors, and left out.
func New(o Options) (*Engine, error) {
	if o.DB == nil || o.State == nil || o.Ledger == nil || o.Graph == nil {
		return nil, errors.New("new alerting engine: DB, State, Ledger and Graph must be set")
	}
	o.Interval = cmp.Or(o.Interval, 15*time.Second)
	o.PollInterval = cmp.Or(o.PollInterval, 30*time.Second)
	o.Repeat = cmp.Or(o.Repeat, 4*time.Hour)
	log := o.Log
	if log == nil {
		log = slog.Default()
	}
	e := &Engine{
		o: o, log: log.With("component", "alerting"),
		alerts:    state.NewTable[record](o.State, "alert", 1),
		incidents: state.NewTable[Incident](o.State, "alert.incident", 1),
		windows:   state.NewTable[Maintenance](o.State, "alert.maintenance", 1),
		active:    map[string]*tracked{}, unwritten: map[string]change{}, open: map[string]Incident{}, planned: map[string]Maintenance{},
		health: map[*rule]RuleStatus{}, byKey: map[string]*rule{}, replaced: make(chan struct{}),
		signal: newSignal(),
	}
	var err error
	if e.transitions, err = state.NewLog[Transition](o.State, "alert.transition", 1); err != nil {
		return nil, fmt.Errorf("open the log of transitions: %w", err)
	}
	if e.outbox, err = newOutbox(e); err != nil {
		return nil, err
	}
	e.setRules(parse(o.RuleFiles))
	for _, f := range e.faults {
		e.log.Error("rule does not load", "err", f)
	}
	if err := e.restore(time.Now()); err != nil {
		return nil, fmt.Errorf("restore alerts: %w", err)
	}
	return e, nil
}

// Run evaluates and notifies until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.runRules(ctx) })
	g.Go(func() error { return e.outbox.run(ctx) })
	g.Go(func() error { return e.watchStatus(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Alerts returns what is pending and firing, the worst and longest first.
func (e *Engine) Alerts() []Alert {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := make([]Alert, 0, len(e.active))
	for _, t := range e.active {
		out = append(out, t.rec.Alert.clone())
	}
	slices.SortFunc(out, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Severity().state().rank(), b.Severity().state().rank()),
			a.ActiveAt.Compare(b.ActiveAt), cmp.Compare(a.Episode, b.Episode))
	})
	return out
}

// Alert returns the pending or firing alert of a fingerprint, else its last
// resolved episode.
func (e *Engine) Alert(fingerprint string) (Alert, bool) {
	e.mu.RLock()
	t := e.active[fingerprint]
	e.mu.RUnlock()
	if t != nil {
		return t.rec.Alert.clone(), true
	}
	var found Alert
	for rec, err := range e.alerts.All("") {
		if err != nil {
			e.log.Error("episodes are not readable", "err", err)
			return Alert{}, false
		}
		if a := rec.Value.Alert; a.Fingerprint == fingerprint && a.ActiveAt.After(found.ActiveAt) {
			found = a
		}
	}
	return found, found.Episode != ""
}

// Episode returns an alert by its episode, also one long resolved. The error
// is state.ErrNotFound when there was none.
func (e *Engine) Episode(id string) (Alert, error) {
	rec, _, err := e.alerts.Get(id)
	if err != nil {
		return Alert{}, fmt.Errorf("read episode: %w", err)
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	// A reader of the log may be faster than what is shown: the record is ahead
	// of memory for as long as a transition is being written.
	if t := e.active[rec.Alert.Fingerprint]; t != nil && t.rec.Alert.Episode == id && t.rec.Alert.Phase == rec.Alert.Phase {
		return t.rec.Alert.clone(), nil
	}
	return rec.Alert, nil
}

// Resolved returns the episodes that fired and were resolved after t, the
// latest first.
func (e *Engine) Resolved(t time.Time) ([]Alert, error) {
	var out []Alert
	for rec, err := range e.alerts.All("") {
		if err != nil {
			return nil, fmt.Errorf("read episodes: %w", err)
		}
		if a := rec.Value.Alert; a.Phase == Resolved && !a.FiredAt.IsZero() && a.ResolvedAt.After(t) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b Alert) int {
		return cmp.Or(b.ResolvedAt.Compare(a.ResolvedAt), cmp.Compare(a.Episode, b.Episode))
	})
	return out, nil
}

// Transitions is the log of every change of phase, oldest first.
func (e *Engine) Transitions() *state.Log[Transition] { return e.transitions }

// Changed receives after any change of an alert or a status; several changes
// may be one signal. It is one channel for one reader; more use Subscribe.
func (e *Engine) Changed() <-chan struct{} { return e.signal.first }

// Subscribe is Changed for one more reader, until ctx ends.
func (e *Engine) Subscribe(ctx context.Context) <-chan struct{} { return e.signal.subscribe(ctx) }

// RuleErrors are the faults of the rule files.
func (e *Engine) RuleErrors() []error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return asErrors(e.faults)
}

// Rules returns how each rule does, those that do not load as well, in the
// order of the files.
func (e *Engine) Rules() []RuleStatus {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []RuleStatus
	for _, g := range e.groups {
		for _, r := range g.rules {
			out = append(out, e.health[r])
		}
	}
	for _, f := range e.faults {
		out = append(out, RuleStatus{File: f.File, Group: f.Group, Name: f.Rule, Health: "err", LastError: f.Error()})
	}
	return out
}
