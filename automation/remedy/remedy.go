package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

// Alerts is what is asked of *alerting.Engine.
type Alerts interface {
	Transitions() *state.Log[alerting.Transition]
	Episode(id string) (alerting.Alert, error)
	Evaluate(ctx context.Context, episode string, since time.Time) (alerting.Verdict, error)
	Escalate(ctx context.Context, episode, reason string) error
	Maintained(item string, t time.Time) (alerting.Maintenance, bool)
}

// Jobs is what is asked of *automation.Executor.
type Jobs interface {
	Submit(ctx context.Context, s automation.Spec) (automation.Job, error)
	Job(id string) (automation.Job, error)
	Conclude(ctx context.Context, id string, ok bool, reason string) error
	Watch(ctx context.Context, id string) <-chan automation.Event
}

// Options are what Remedies works with. All but HostOf and Log must be set.
type Options struct {
	Alerts   Alerts
	Jobs     Jobs
	State    *state.DB
	Ledger   *ledger.Chain
	Remedies []Remedy
	// Poll asks for a poll of a target that begins after the call, and returns
	// when its samples are stored.
	Poll func(ctx context.Context, target string) error
	// HostOf names the host of an alert for remedies that do not.
	HostOf func(a alerting.Alert) (string, bool)
	Log    *slog.Logger
}

// Remedies answers alerts. It is safe for concurrent use.
type Remedies struct {
	o       Options
	log     *slog.Logger
	cases   *state.Table[Case]
	cursors *state.Table[uint64]
	cursor  uint64

	mu       sync.RWMutex // guards below
	remedies []Remedy
}

// cursorID is the one record of the table of cursors.
const cursorID = "transitions"

// Bounds of one case.
const (
	lookAgain    = 2 * time.Second // at a job's phase, should an event be lost
	retryEvery   = 5 * time.Second // what failed for reasons outside of the case
	attemptPause = time.Second     // between attempts of a proof
	attemptLimit = 15 * time.Second
)

// New checks the options and the remedies, and starts nothing.
func New(o Options) (*Remedies, error) {
	if o.Alerts == nil || o.Jobs == nil || o.State == nil || o.Ledger == nil || o.Poll == nil {
		return nil, errors.New("new remedies: Alerts, Jobs, State, Ledger and Poll must be set")
	}
	log := o.Log
	if log == nil {
		log = slog.Default()
	}
	m := &Remedies{
		o: o, log: log.With("component", "remedy"),
		cases:   state.NewTable[Case](o.State, "remedy.case", 1),
		cursors: state.NewTable[uint64](o.State, "remedy.cursor", 1),
	}
	return m, m.Replace(o.Remedies)
}

// Replace takes other remedies in the place of those that are there. A case
// that is open goes on as it was decided.
func (m *Remedies) Replace(remedies []Remedy) error {
	names := map[string]bool{}
	for _, r := range remedies {
		if names[r.Name] {
			return fmt.Errorf("remedies: %q is there twice", r.Name)
		}
		names[r.Name] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remedies = remedies
	return nil
}

// Run answers alerts until ctx ends. What is not over then goes on with the
// next Run.
func (m *Remedies) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	open, err := m.restore()
	if err != nil {
		return fmt.Errorf("restore remedies: %w", err)
	}
	for _, c := range open {
		wg.Go(func() { m.follow(ctx, c) })
	}
	for ctx.Err() == nil {
		news, err := m.read()
		for _, c := range news {
			wg.Go(func() { m.follow(ctx, c) })
		}
		if errors.Is(err, state.ErrReadOnly) {
			m.log.Error("alerts are not answered until that can be written down", "err", err)
			sleep(ctx, retryEvery)
			continue
		}
		if err != nil {
			return fmt.Errorf("read alerts: %w", err)
		}
		if err := m.o.Alerts.Transitions().Wait(ctx, m.cursor); err != nil && ctx.Err() == nil {
			return fmt.Errorf("wait for alerts: %w", err)
		}
	}
	return nil
}

// restore returns the cases that are not over.
func (m *Remedies) restore() (open []Case, err error) {
	m.cursor, _, err = m.cursors.Get(cursorID)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return nil, err
	}
	for rec, err := range m.cases.All("") {
		if err != nil {
			return nil, err
		}
		if rec.Value.Phase != Done {
			open = append(open, rec.Value)
		}
	}
	return open, nil
}

// read makes the cases of new firing episodes. They are on disk before the
// cursor passes them, and are returned beside an error too.
func (m *Remedies) read() (news []Case, err error) {
	to := m.cursor
	for entry, err := range m.o.Alerts.Transitions().Read(m.cursor + 1) {
		if err != nil {
			return news, err
		}
		if entry.Value.To == alerting.Firing {
			c, fresh, err := m.open(entry.Value)
			if err != nil {
				return news, err
			}
			if fresh && c.Phase != Done {
				news = append(news, c)
			}
		}
		to = entry.Seq
	}
	if to == m.cursor {
		return news, nil
	}
	if _, _, err := m.cursors.Update(cursorID, func(v *uint64, _ bool) error {
		*v = to
		return nil
	}); err != nil {
		return news, err
	}
	m.cursor = to
	return news, nil
}

// open makes the case of one firing episode, if a remedy answers it and there
// is none yet.
func (m *Remedies) open(tr alerting.Transition) (c Case, fresh bool, err error) {
	r, ok := m.remedyFor(tr)
	if !ok {
		return Case{}, false, nil
	}
	if _, _, err := m.cases.Get(tr.Episode); err == nil || !errors.Is(err, state.ErrNotFound) {
		return Case{}, false, err
	}
	a, err := m.o.Alerts.Episode(tr.Episode)
	if err != nil {
		return Case{}, false, err
	}
	c = m.decide(r, a, time.Now())
	if c.Phase == Done {
		// The evidence first: a case that is done is not looked at again.
		return c, false, m.close(context.Background(), c)
	}
	if _, err := m.cases.Put(c.Episode, c, 0); err != nil {
		return Case{}, false, err
	}
	return c, true, nil
}

func (m *Remedies) remedyFor(tr alerting.Transition) (Remedy, bool) {
	for _, r := range m.Remedies() {
		if r.matches(tr.Rule, tr.Labels) {
			return r, true
		}
	}
	return Remedy{}, false
}

// close escalates where a person is needed, leaves the evidence, and ends the
// case, in this order: after a crash each is done again or found done.
func (m *Remedies) close(ctx context.Context, c Case) error {
	ctx = context.WithoutCancel(ctx)
	if c.escalates() {
		if err := m.o.Alerts.Escalate(ctx, c.Episode, c.escalation()); err != nil {
			return err
		}
	}
	if err := m.note(c, "remedy."+c.Outcome); err != nil {
		return err
	}
	err := m.cases.PutMany([]state.Record[Case]{{ID: c.Episode, Value: c}})
	if err == nil {
		metrics.GetOrCreateCounter(fmt.Sprintf("nocturne_remedy_cases_total{outcome=%q}", c.Outcome)).Inc()
	}
	return err
}

func (c Case) escalation() string {
	if c.Spec.ID == "" {
		return fmt.Sprintf("remedy %s is not run: %s", c.Remedy, c.Reason)
	}
	return fmt.Sprintf("remedy %s did not help (job %s): %s", c.Remedy, c.Spec.ID, c.Reason)
}

// evidence is what the ledger keeps of a decision.
type evidence struct {
	Episode    string            `json:"episode"`
	Revision   string            `json:"revision"`
	Job        string            `json:"job,omitempty"`
	Runbook    string            `json:"runbook,omitempty"`
	Hosts      []string          `json:"hosts,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Target     string            `json:"target,omitempty"`
	Reason     string            `json:"reason,omitempty"`
}

// note writes a decision into the ledger, unless it is there: a crash behind
// the entry comes here again.
func (m *Remedies) note(c Case, action string) error {
	e := evidence{
		Episode: c.Episode, Revision: c.Revision, Job: c.Spec.ID, Runbook: c.Spec.Runbook,
		Hosts: c.Spec.Hosts, Parameters: c.Spec.Parameters, Target: c.Target, Reason: c.Reason,
	}
	for entry, err := range m.o.Ledger.Incident(c.Incident) {
		if err != nil {
			return err
		}
		var told evidence
		if entry.Action == action && json.Unmarshal(entry.Data, &told) == nil && told.Episode == c.Episode {
			return nil
		}
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	about := c.Item
	if about == "" {
		about = "episode/" + c.Episode
	}
	_, err = m.o.Ledger.Append(ledger.Entry{
		Kind: "job", Actor: c.actor(), Action: action, Subject: about, Incident: c.Incident, Data: raw,
	})
	return err
}

// Case returns how an episode is answered; state.ErrNotFound when no remedy
// answers it.
func (m *Remedies) Case(episode string) (Case, error) {
	c, _, err := m.cases.Get(episode)
	return c, err
}

// Remedies returns what is configured.
func (m *Remedies) Remedies() []Remedy {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.remedies
}
