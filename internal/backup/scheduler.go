package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

var (
	// ErrBusy says that a generation is being made.
	ErrBusy = errors.New("a backup is under way")
	// ErrNowhere says that a request names no store and none is configured.
	ErrNowhere = errors.New("there is no store to back up to: name one, or configure backup.to")
)

// Place is where a store is, and the credential that lets us in.
type Place struct {
	To         string `json:"to"`
	Credential string `json:"credential,omitempty"`
}

// Request asks for a whole generation now.
type Request struct {
	Place          // empty: the one that is configured
	Recheck bool   `json:"recheck"`
	WithKey bool   `json:"with_key"`
	By      string `json:"-"` // who asks
}

// SchedulerOptions say what is backed up, where to and how often. Source, Open,
// State and Ledger are needed.
type SchedulerOptions struct {
	Source     Source
	Open       func(context.Context, Place) (Store, error) // to write
	Place      Place                                       // empty: only what is asked for
	Every      time.Duration                               // between whole generations
	StateEvery time.Duration                               // between points; 0 makes none
	Keep       int                                         // whole generations
	Log        *slog.Logger
}

// Scheduler makes generations when they are due and when they are asked for,
// one after another.
type Scheduler struct {
	o      SchedulerOptions
	log    *slog.Logger
	record *state.Table[record]
	asked  chan Request
	busy   atomic.Bool
	since  time.Time // when the place was configured
	opened time.Time

	mu   sync.Mutex // guards below
	now  Status
	mark Mark // of the configured place, since this process opened the state
	// When the next are due; the zero time is at once.
	nextWhole, nextPoint time.Time
	failures             int // since the last success
}

// Status says how the backups fare.
type Status struct {
	Place     Place         `json:"place"`
	Every     time.Duration `json:"every_ns"`
	Running   string        `json:"running,omitempty"` // the kind under way
	Done      int64         `json:"done_bytes"`
	Total     int64         `json:"total_bytes"`
	Last      *Report       `json:"last,omitempty"`      // the last whole generation, wherever to
	LastWhole time.Time     `json:"last_whole,omitzero"` // when it was done, to the configured place
	LastPoint time.Time     `json:"last_point,omitzero"`
	// LastError is of the last try, empty when it went well.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Asked       *Outcome  `json:"asked,omitempty"` // the last that was asked for
	// Late is when a success is missed; zero where nothing is configured.
	Late time.Time `json:"late,omitzero"`
}

// Outcome is what became of a request.
type Outcome struct {
	ID     int64   `json:"id"`
	Done   bool    `json:"done"`
	Report *Report `json:"report,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// record is what outlives the process.
type record struct {
	Place     Place     `json:"place"`
	Since     time.Time `json:"since"` // when the place was configured
	LastWhole time.Time `json:"last_whole,omitzero"`
	Last      *Report   `json:"last,omitempty"`
}

const (
	recordID   = "schedule"
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// NewScheduler checks the options. It starts nothing.
func NewScheduler(o SchedulerOptions) (*Scheduler, error) {
	if o.Source.State == nil || o.Source.Ledger == nil || o.Source.Data == "" || o.Open == nil {
		return nil, errors.New("backup: an option is missing")
	}
	if o.Place.To != "" && (o.Every <= 0 || o.Keep < 1 || o.StateEvery < 0) {
		return nil, errors.New("backup: a place needs an interval, and at least one generation to keep")
	}
	s := &Scheduler{o: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("component", "backup"),
		record: state.NewTable[record](o.Source.State, "backup", 1), asked: make(chan Request, 1)}
	r, _, err := s.record.Get(recordID)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return nil, fmt.Errorf("read what is known of backups: %w", err)
	}
	s.now = Status{Place: o.Place, Every: o.Every, Last: r.Last}
	if o.Place.To == "" {
		return s, nil
	}
	if r.Place != o.Place {
		r = record{Place: o.Place, Since: time.Now().UTC(), Last: r.Last}
		if err := s.remember(func(stored *record) { *stored = r }); err != nil {
			return nil, err
		}
	}
	s.now.LastWhole, s.since, s.opened = r.LastWhole, r.Since, time.Now().UTC()
	// One of the future was made by a clock that has been set back since.
	if !r.LastWhole.IsZero() && !r.LastWhole.After(time.Now()) {
		s.nextWhole = r.LastWhole.Add(o.Every)
	}
	s.told()
	return s, nil
}

func (s *Scheduler) remember(change func(*record)) error {
	_, _, err := s.record.Update(recordID, func(stored *record, _ bool) error {
		change(stored)
		return nil
	})
	if err != nil {
		return fmt.Errorf("note a backup: %w", err)
	}
	return nil
}

// told reckons when a success is missed, half an interval after it was due or,
// of points, three intervals, and tells the metrics.
func (s *Scheduler) told() {
	if s.o.Place.To == "" {
		return
	}
	s.now.Late = s.since.Add(s.o.Every / 2)
	if !s.now.LastWhole.IsZero() {
		s.now.Late = s.now.LastWhole.Add(s.o.Every + s.o.Every/2)
	}
	if s.o.StateEvery > 0 && !s.now.LastWhole.IsZero() {
		last := s.opened
		for _, t := range []time.Time{s.now.LastWhole, s.now.LastPoint} {
			if t.After(last) {
				last = t
			}
		}
		if late := last.Add(4 * s.o.StateEvery); late.Before(s.now.Late) {
			s.now.Late = late
		}
	}
	metrics.GetOrCreateGauge(`nocturne_backup_last_success_timestamp_seconds`, nil).Set(seconds(s.now.LastWhole))
	metrics.GetOrCreateGauge(`nocturne_backup_last_point_timestamp_seconds`, nil).Set(seconds(s.now.LastPoint))
	metrics.GetOrCreateGauge(`nocturne_backup_late_timestamp_seconds`, nil).Set(seconds(s.now.Late))
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// Status returns how the backups fare now.
func (s *Scheduler) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Start asks for a whole generation and returns at once: with ErrBusy while one
// is under way. Status.Asked has the outcome under the number returned.
func (s *Scheduler) Start(r Request) (id int64, err error) {
	if r.To == "" {
		r.Place = s.o.Place
	}
	if r.To == "" {
		return 0, ErrNowhere
	}
	if !s.busy.CompareAndSwap(false, true) {
		return 0, ErrBusy
	}
	s.begin(Whole)
	id = time.Now().UnixNano()
	s.mu.Lock()
	s.now.Asked = &Outcome{ID: id}
	s.mu.Unlock()
	s.asked <- r
	return id, nil
}

// answer ends the request under way.
func (s *Scheduler) answer(report Report, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &Outcome{ID: s.now.Asked.ID, Done: true}
	if err != nil {
		o.Error = err.Error()
	} else {
		o.Report = &report
	}
	s.now.Asked = o
}

func (s *Scheduler) begin(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Running, s.now.Done, s.now.Total = kind, 0, 0
}

// Run makes what is due and what is asked for until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	for {
		kind, wait := s.due(time.Now())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case r := <-s.asked:
			s.answer(s.whole(ctx, r))
		case <-timer.C:
			if kind == "" || !s.busy.CompareAndSwap(false, true) {
				continue // nothing is due; or one was asked for just now
			}
			s.begin(kind)
			if kind == Whole {
				_, _ = s.whole(ctx, Request{Place: s.o.Place}) // it told of its error
			} else {
				s.point(ctx)
			}
		}
		timer.Stop()
		s.begin("")
		s.busy.Store(false)
	}
}

// due returns what is due next, and in how long.
func (s *Scheduler) due(now time.Time) (kind string, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.Place.To == "" {
		return "", time.Hour
	}
	kind, at := Whole, s.nextWhole
	if s.o.StateEvery > 0 && !s.now.LastWhole.IsZero() && s.nextPoint.Before(at) {
		kind, at = Point, s.nextPoint
	}
	return kind, max(0, at.Sub(now))
}

func (s *Scheduler) progress(done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Done, s.now.Total = done, total
}

// limit keeps a store that hangs from ending all backups.
func (s *Scheduler) limit(ctx context.Context, every time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, max(every, time.Hour)*9/10)
}

// whole makes a whole generation and tells everybody how it went.
func (s *Scheduler) whole(ctx context.Context, r Request) (Report, error) {
	ctx, cancel := s.limit(ctx, cmp.Or(s.o.Every, 24*time.Hour))
	defer cancel()
	start := time.Now()
	report, err := s.makeWhole(ctx, r)
	if err != nil {
		s.failed(ctx, Whole, r, err)
		return report, err
	}
	metrics.GetOrCreateGauge(`nocturne_backup_duration_seconds`, nil).Set(time.Since(start).Seconds())
	metrics.GetOrCreateGauge(`nocturne_backup_size_bytes`, nil).Set(float64(report.Bytes))
	s.log.Info("backed up", "to", r.To, "generation", report.Name, "bytes", report.Bytes, "copied", report.CopiedBytes, "took", report.Took)
	s.succeeded(report, r)
	return report, nil
}

func (s *Scheduler) makeWhole(ctx context.Context, r Request) (report Report, err error) {
	store, err := s.o.Open(ctx, r.Place)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if report, err = MakeWhole(ctx, s.o.Source, store, Options{Recheck: r.Recheck, WithKey: r.WithKey, Progress: s.progress}); err != nil {
		return report, err
	}
	if err := s.note(r.By, "backup.made", map[string]any{"to": r.To, "generation": report.Name, "bytes": report.Bytes,
		"ledger": report.Ledger, "with_key": r.WithKey}); err != nil {
		return report, err
	}
	if r.Place != s.o.Place {
		return report, nil // who asks for one elsewhere keeps what is there
	}
	_, err = Prune(ctx, store, s.o.Keep)
	return report, err
}

func (s *Scheduler) succeeded(report Report, r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Last = &report
	if r.Place == s.o.Place {
		now := time.Now() // the next are due by the clock that does not step
		s.now.LastWhole, s.mark, s.now.LastError, s.failures = now.UTC(), report.Mark(), "", 0
		s.nextWhole, s.nextPoint = now.Add(s.o.Every), now.Add(s.o.StateEvery)
	}
	s.told()
	if err := s.remember(func(stored *record) { stored.Last, stored.LastWhole = &report, s.now.LastWhole }); err != nil {
		s.log.Error("note a backup", "to", r.To, "err", err)
	}
}

func (s *Scheduler) point(ctx context.Context) {
	ctx, cancel := s.limit(ctx, s.o.StateEvery)
	defer cancel()
	s.mu.Lock()
	after := s.mark
	s.mu.Unlock()
	report, err := s.makePoint(ctx, after)
	if err != nil {
		s.failed(ctx, Point, Request{Place: s.o.Place}, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, ErrNoWhole) { // somebody emptied the store
		s.nextWhole = time.Time{}
	}
	if err != nil {
		return
	}
	now := time.Now()
	s.mark, s.now.LastPoint, s.now.LastError, s.failures = report.Mark(), now.UTC(), "", 0
	s.nextPoint = now.Add(s.o.StateEvery)
	s.told()
}

func (s *Scheduler) makePoint(ctx context.Context, after Mark) (report Report, err error) {
	store, err := s.o.Open(ctx, s.o.Place)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return MakePoint(ctx, s.o.Source, store, after, Options{Progress: s.progress})
}

// failed counts, logs, and leaves an entry in the ledger for each whole
// generation and for the first of points that fail in a row.
func (s *Scheduler) failed(ctx context.Context, kind string, r Request, err error) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		s.log.Warn("backup ended with the program", "kind", kind, "to", r.To)
		return
	}
	metrics.GetOrCreateCounter(fmt.Sprintf("nocturne_backup_failures_total{kind=%q}", kind)).Inc()
	s.log.Error("backup failed", "kind", kind, "to", r.To, "err", err)
	s.mu.Lock()
	s.now.LastError, s.now.LastErrorAt = err.Error(), time.Now().UTC()
	retry := min(firstRetry<<min(s.failures, 10), lastRetry)
	first := s.failures == 0
	s.failures++
	if r.Place == s.o.Place {
		s.nextPoint = time.Now().Add(min(retry, max(s.o.StateEvery, firstRetry)))
		if kind == Whole {
			s.nextWhole = time.Now().Add(retry)
		}
	}
	s.mu.Unlock()
	if kind == Point && !first {
		return
	}
	if err := s.note(r.By, "backup.failed", map[string]any{"to": r.To, "kind": kind, "error": err.Error()}); err != nil {
		s.log.Error("record a failed backup", "err", err)
	}
}

func (s *Scheduler) note(by, action string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode %s: %w", action, err)
	}
	_, err = s.o.Source.Ledger.Append(ledger.Entry{Kind: ledger.Audit, Actor: cmp.Or(by, "system"), Action: action, Subject: "backup", Data: b})
	return err
}
