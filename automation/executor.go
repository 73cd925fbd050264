package automation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

// Options of an Executor. State, Ledger, Runner, Queue and Hosts are needed.
type Options struct {
	State    *state.DB
	Ledger   *ledger.Chain
	Runner   Runner
	Queue    Queue
	Runbooks []Runbook
	Hosts    func(name string) (Host, bool)

	Regions     []Region // a region "default" is added for all other addresses
	RegionSlots int      // hosts at once in a region that does not say; 64
	GlobalSlots int      // hosts at once in all; 256
	// Openings bounds how many connects begin in a second; 100.
	Openings float64
	// ConnectAttempts is how often a retryable connect is tried; 3.
	ConnectAttempts int
	RetryAfter      time.Duration // before the second attempt, doubled for each later one; 2 s
	BreakAfter      int           // connects that fail in a row before a region shrinks; 5
	// Drain is how long Run waits at its end for commands that were sent; 10 s.
	Drain      time.Duration
	HostOutput int64 // bytes of output kept of one host in one job; 64 KiB
	JobOutput  int64 // bytes of output kept of one job; 1 MiB
	MaxTasks   int   // tasks that may wait; 100,000
	Log        *slog.Logger
}

// Executor runs jobs. It is safe for concurrent use.
type Executor struct {
	o          Options
	log        *slog.Logger
	rec        records
	atlas      atlas
	slots      *slots
	openings   *rate.Limiter
	hub        hub
	wake       chan struct{}
	superseded chan struct{}

	// marking is held while a job has its mark and no record yet.
	marking sync.RWMutex

	mu       sync.Mutex // guards below
	epoch    uint64     // 0 until Run
	live     map[string]*liveJob
	owed     []string // jobs taken that ledger or queue do not know yet
	runbooks map[string]Runbook
}

// liveJob is a job that the running executor works on.
type liveJob struct {
	rec  jobRecord // as when it became live; phase and end are read from the store
	out  *transcript
	left map[string]bool // hosts whose task has not ended; guarded by Executor.mu

	// canceled is closed when the job is; connects then end.
	canceled   chan struct{}
	cancelOnce sync.Once
}

// New validates the options and starts nothing.
func New(o Options) (*Executor, error) {
	if o.State == nil || o.Ledger == nil || o.Runner == nil || o.Queue == nil || o.Hosts == nil {
		return nil, errors.New("automation: State, Ledger, Runner, Queue and Hosts are needed")
	}
	o.RegionSlots = cmp.Or(o.RegionSlots, 64)
	o.GlobalSlots = cmp.Or(o.GlobalSlots, 256)
	o.Openings = cmp.Or(o.Openings, 100)
	o.ConnectAttempts = cmp.Or(o.ConnectAttempts, 3)
	o.RetryAfter = cmp.Or(o.RetryAfter, 2*time.Second)
	o.BreakAfter = cmp.Or(o.BreakAfter, 5)
	o.Drain = cmp.Or(o.Drain, 10*time.Second)
	o.HostOutput = cmp.Or(o.HostOutput, 64<<10)
	o.JobOutput = cmp.Or(o.JobOutput, 1<<20)
	o.MaxTasks = cmp.Or(o.MaxTasks, 100_000)
	if o.RegionSlots < 0 || o.GlobalSlots < 0 || o.Openings < 0 || o.ConnectAttempts < 0 || o.BreakAfter < 0 || o.MaxTasks < 0 {
		return nil, errors.New("automation: a bound cannot be negative")
	}
	atlas, err := newAtlas(o.Regions, o.RegionSlots)
	if err != nil {
		return nil, fmt.Errorf("automation: %w", err)
	}
	rec, err := newRecords(o.State)
	if err != nil {
		return nil, fmt.Errorf("automation: %w", err)
	}
	x := &Executor{
		o: o, log: cmp.Or(o.Log, slog.Default()).With("component", "automation"), rec: rec, atlas: atlas,
		slots:    newSlots(atlas.regions, o.GlobalSlots, o.BreakAfter),
		openings: rate.NewLimiter(rate.Limit(o.Openings), max(1, int(o.Openings/10))),
		wake:     make(chan struct{}, 1), superseded: make(chan struct{}, 1),
		live: map[string]*liveJob{},
	}
	x.slots.machine = x.machine
	return x, x.Replace(o.Runbooks)
}

// Replace takes other runbooks in the place of those that are there. Jobs that
// were submitted keep the one they were submitted with.
func (x *Executor) Replace(runbooks []Runbook) error {
	named := map[string]Runbook{}
	for _, rb := range runbooks {
		if _, twice := named[rb.Name]; twice {
			return fmt.Errorf("automation: two runbooks are named %s", rb.Name)
		}
		named[rb.Name] = rb
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.runbooks = named
	return nil
}

// Resize changes how many hosts are worked on at once, in all (0: 256) and in
// each region. The regions must be those that are there.
func (x *Executor) Resize(regions []Region, global int) error {
	atlas, err := newAtlas(regions, x.o.RegionSlots)
	if err != nil {
		return fmt.Errorf("automation: %w", err)
	}
	same := func(a, b Region) bool { return a.Name == b.Name && slices.Equal(a.Prefixes, b.Prefixes) }
	if !slices.EqualFunc(atlas.regions, x.atlas.regions, same) || global < 0 {
		return errors.New("automation: resizing cannot change what the regions are")
	}
	x.slots.resize(atlas.regions, cmp.Or(global, 256))
	x.poke()
	return nil
}

// runbook returns the one of that name.
func (x *Executor) runbook(name string) (Runbook, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	rb, ok := x.runbooks[name]
	return rb, ok
}

// Run takes over what an earlier executor left, then works until ctx ends. It
// returns when the commands under way have ended, or are cut off after Drain:
// their steps are then unknown.
func (x *Executor) Run(ctx context.Context) error {
	if err := x.beginInTime(ctx); err != nil {
		return err
	}
	working, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var wg sync.WaitGroup
	err := x.loop(ctx, working, &wg)
	drain := time.AfterFunc(x.o.Drain, cut)
	defer drain.Stop()
	wg.Wait()
	return err
}

// loop starts tasks until stop ends or a newer executor is found at work.
func (x *Executor) loop(stop, working context.Context, wg *sync.WaitGroup) error {
	// A queue shared with others is looked at without being told to.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for stop.Err() == nil {
		x.settleDebts(stop)
		if err := x.claim(stop); err != nil && stop.Err() == nil {
			x.log.Error("cannot claim from the queue", "err", err)
		}
		due := x.dispatch(stop, working, wg)
		var alarm <-chan time.Time
		if !due.IsZero() {
			alarm = time.After(time.Until(due))
		}
		select {
		case <-stop.Done():
		case <-x.superseded:
			return fmt.Errorf("automation: %w: a newer executor works on this state", errStale)
		case <-x.wake:
		case <-tick.C:
		case <-alarm:
		}
	}
	return nil
}

// supersede ends the loop.
func (x *Executor) supersede() {
	select {
	case x.superseded <- struct{}{}:
	default:
	}
}

// dispatch starts every task that has its turn and returns when the next one
// that waits for its time is due.
func (x *Executor) dispatch(stop, working context.Context, wg *sync.WaitGroup) time.Time {
	for stop.Err() == nil {
		t, due := x.slots.pick(time.Now())
		if t == nil {
			return due
		}
		wg.Go(func() { x.work(stop, working, t) })
	}
	return time.Time{}
}

func (x *Executor) poke() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// claim lets what the queue delivers wait for its turn.
func (x *Executor) claim(ctx context.Context) error {
	const batch = 256
	var errs []error
	for _, r := range x.atlas.regions {
		for {
			got, err := x.o.Queue.Claim(ctx, r.Name, batch)
			errs = append(errs, err)
			for _, d := range got {
				errs = append(errs, x.admit(ctx, d.Job, d.Host, d.Receipt))
			}
			if len(got) < batch {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// admit lets one task wait when its record says that there is something to do,
// and otherwise tells the queue that there is not.
func (x *Executor) admit(ctx context.Context, job, host, receipt string) error {
	l, err := x.track(job)
	if err != nil && !errors.Is(err, ErrNoJob) {
		return err
	}
	if err == nil {
		x.mu.Lock()
		todo := l != nil && l.left[host]
		x.mu.Unlock()
		if todo {
			x.slots.add(Entry{Job: job, Host: host, Region: x.region(l.rec.Regions[host])}, receipt, time.Time{})
			if l.isCanceled() { // whoever canceled may have looked before it waited
				return x.skipWaiting(l)
			}
			return nil
		}
	}
	if receipt == "" {
		return nil
	}
	return x.o.Queue.Ack(ctx, receipt)
}

// region returns the recorded region where it still is configured.
func (x *Executor) region(name string) string {
	for _, r := range x.atlas.regions {
		if r.Name == name {
			return name
		}
	}
	return DefaultRegion
}

// track makes a job live, or returns nil when it has nothing left to run.
func (x *Executor) track(id string) (*liveJob, error) {
	x.mu.Lock()
	l := x.live[id]
	x.mu.Unlock()
	if l != nil {
		return l, nil
	}
	j, err := x.rec.job(id)
	if err != nil || JobEnded(j.Phase) || j.Phase == JobVerifying {
		return nil, err
	}
	l = &liveJob{rec: j, left: map[string]bool{}, canceled: make(chan struct{})}
	l.out = &transcript{
		job: id, hostMax: x.o.HostOutput, totalMax: x.o.JobOutput, table: x.rec.output, byHost: map[string]int64{},
		show: func(line OutputLine) { x.hub.emit(Event{Job: id, Phase: JobRunning, Line: &line}) },
		fail: func(err error) { x.log.Error("output is not stored", "err", err) },
	}
	if err := l.out.load(); err != nil {
		return nil, err
	}
	for _, h := range j.Spec.Hosts {
		t, err := x.rec.task(j, h)
		if err != nil {
			return nil, err
		}
		if !t.ended() {
			l.left[h] = true
		}
	}
	if j.CanceledBy != "" {
		l.cancel()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if other := x.live[id]; other != nil {
		return other, nil
	}
	x.live[id] = l
	return l, nil
}

func (l *liveJob) cancel() { l.cancelOnce.Do(func() { close(l.canceled) }) }

func (l *liveJob) isCanceled() bool {
	select {
	case <-l.canceled:
		return true
	default:
		return false
	}
}

// Regions tells how busy the regions are, and how many tasks run in all, now
// and at most.
func (x *Executor) Regions() (regions []RegionStatus, running, high int) { return x.slots.status() }
