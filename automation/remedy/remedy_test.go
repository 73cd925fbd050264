package remedy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

const rules = `
groups:
- name: services
  interval: 2s
  rules:
  - alert: ServiceDown
    expr: node_systemd_unit_state{state="active"} == 0
    labels: {severity: critical}
`

const remedies = `
remedies:
- name: restart-service
  alert: ServiceDown
  match: {job: linux}
  runbook: restart
  parameters:
    unit: "{{ .Labels.name }}"
  host: "{{ .Labels.instance }}"
  verify_within: 30s
`

// jobs stands for the executor: it keeps jobs over restarts and fulfils its
// contract of idempotent IDs. What a job does is run.
type jobs struct {
	run func(s automation.Spec) (phase, reason string)

	mu        sync.Mutex
	jobs      map[string]automation.Job
	submitted int // calls, also those that find the job there
	ran       []string
	invalid   error
	busy      bool // too many tasks wait
}

func (x *jobs) Submit(_ context.Context, s automation.Spec) (automation.Job, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.submitted++
	if x.busy {
		return automation.Job{}, automation.ErrBusy
	}
	if x.invalid != nil {
		return automation.Job{}, fmt.Errorf("%w: %w", automation.ErrInvalid, x.invalid)
	}
	if j, ok := x.jobs[s.ID]; ok {
		return j, nil
	}
	x.ran = append(x.ran, s.ID)
	j := automation.Job{Spec: s, Created: time.Now()}
	j.Phase, j.Reason = x.run(s)
	if j.Phase != automation.JobRunning {
		j.Tasks = []automation.Task{{Host: s.Hosts[0], Steps: []automation.StepState{{Ended: time.Now()}}}}
	}
	x.jobs[s.ID] = j
	return j, nil
}

func (x *jobs) Job(id string) (automation.Job, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	j, ok := x.jobs[id]
	if !ok {
		return j, automation.ErrNoJob
	}
	return j, nil
}

func (x *jobs) Conclude(_ context.Context, id string, ok bool, reason string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	j := x.jobs[id]
	if j.Phase != automation.JobVerifying {
		return automation.ErrPhase
	}
	j.Phase, j.Reason = automation.JobFailed, reason
	if ok {
		j.Phase = automation.JobSucceeded
	}
	x.jobs[id] = j
	return nil
}

func (x *jobs) Watch(context.Context, string) <-chan automation.Event { return nil }

func (x *jobs) set(id, phase string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	j := x.jobs[id]
	j.Phase = phase
	j.Tasks = []automation.Task{{Steps: []automation.StepState{{Ended: time.Now()}}}}
	x.jobs[id] = j
}

// loop is the closed loop but for the executor: the real stores, the real
// engine, and a service whose state decides the samples.
type loop struct {
	t      *testing.T
	dir    string
	text   string // of the remedies
	rules  string
	jobs   *jobs
	active bool          // the service's state
	silent bool          // the host does not answer
	slow   time.Duration // before the host answers
	polls  int
	labels []string

	db       *tsdb.DB
	state    *state.DB
	chain    *ledger.Chain
	told     *ledger.Chain // of the engine, where it is another
	engine   *alerting.Engine
	remedies *Remedies
}

func inBubble(t *testing.T, f func(t *testing.T, l *loop)) {
	synctest.Test(t, func(t *testing.T) {
		l := &loop{t: t, dir: t.TempDir(), text: remedies, rules: rules,
			labels: []string{"__name__", "node_systemd_unit_state", "job", "linux", "instance", "web-1", "name", "shop.service", "state", "active"}}
		l.jobs = &jobs{jobs: map[string]automation.Job{}}
		l.jobs.run = func(automation.Spec) (string, string) { l.active = true; return automation.JobVerifying, "" }
		l.start()
		defer l.stop()
		f(t, l)
	})
}

func (l *loop) start() {
	l.t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	if l.db, err = tsdb.Open(tsdb.Options{Dir: l.dir + "/tsdb", Retention: 24 * time.Hour, OutOfOrder: time.Hour, Log: quiet}); err != nil {
		l.t.Fatal(err)
	}
	if l.state, err = state.Open(state.Options{Dir: l.dir + "/state", Log: quiet}); err != nil {
		l.t.Fatal(err)
	}
	graph, err := inventory.Open(l.state)
	if err != nil {
		l.t.Fatal(err)
	}
	if l.chain, err = ledger.Open(l.state); err != nil {
		l.t.Fatal(err)
	}
	if err := graph.Observe(l.t.Context(), inventory.Observation{Source: "linux", Target: "web-1", Facts: []inventory.Fact{
		{Kind: "host", Key: "web-1", Name: "web-1", Binding: map[string]string{"job": "linux", "instance": "web-1"}}}}); err != nil {
		l.t.Fatal(err)
	}
	l.engine, err = alerting.New(alerting.Options{DB: l.db, State: l.state, Ledger: cmp.Or(l.told, l.chain), Graph: graph, Log: quiet,
		RuleFiles: []alerting.File{{Name: "rules.yml", Data: []byte(l.rules)}}})
	if err != nil {
		l.t.Fatal(err)
	}
	list, err := Parse("remedies.yml", []byte(l.text))
	if err != nil {
		l.t.Fatal(err)
	}
	l.remedies, err = New(Options{Alerts: l.engine, Jobs: l.jobs, State: l.state, Ledger: l.chain, Remedies: list, Poll: l.poll, Log: quiet})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *loop) stop() {
	if err := errors.Join(l.db.Close(), l.state.Close()); err != nil {
		l.t.Error(err)
	}
}

// poll stores what the service's state is.
func (l *loop) poll(ctx context.Context, target string) error {
	l.polls++
	select {
	case <-time.After(l.slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.silent {
		_, err := l.db.Append(ctx, []tsdb.Sample{{Labels: upOf(target), T: time.Now().UnixMilli(), V: 0}})
		return errors.Join(fmt.Errorf("%s does not answer", target), err)
	}
	v := 0.0
	if l.active {
		v = 1
	}
	time.Sleep(20 * time.Millisecond) // later than what asked for it
	_, err := l.db.Append(ctx, []tsdb.Sample{
		{Labels: labels.FromStrings(l.labels...), T: time.Now().UnixMilli(), V: v},
		{Labels: upOf(target), T: time.Now().UnixMilli(), V: 1},
	})
	return err
}

func upOf(target string) labels.Labels {
	return labels.FromStrings("__name__", "up", "job", "linux", "instance", target)
}

// run starts engine and remedies; the returned function ends them, as a crash
// would: what is not on disk is lost.
func (l *loop) run() (stop func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{l.engine.Run, l.remedies.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				l.t.Error(err)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// fault makes the service fail and has it seen.
func (l *loop) fault() {
	l.t.Helper()
	l.active = false
	if err := l.poll(l.t.Context(), "web-1"); err != nil {
		l.t.Fatal(err)
	}
}

func (l *loop) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// episode is that of the one alert that fired.
func (l *loop) episode() string {
	l.t.Helper()
	for entry, err := range l.engine.Transitions().Read(1) {
		if err != nil {
			l.t.Fatal(err)
		}
		if entry.Value.To == alerting.Firing {
			return entry.Value.Episode
		}
	}
	l.t.Fatal("nothing fired")
	return ""
}

func (l *loop) want(outcome, reason string) Case {
	l.t.Helper()
	c, err := l.remedies.Case(l.episode())
	if err != nil {
		l.t.Fatal(err)
	}
	if c.Outcome != outcome || !strings.Contains(c.Reason, reason) {
		l.t.Fatalf("case is %s %q (%s), want %s %q", c.Outcome, c.Reason, c.Phase, outcome, reason)
	}
	return c
}

func (l *loop) escalations() (reasons []string) {
	for entry, err := range l.engine.Transitions().Read(1) {
		if err != nil {
			l.t.Fatal(err)
		}
		if entry.Value.To == alerting.Escalated {
			reasons = append(reasons, entry.Value.Reason)
		}
	}
	return reasons
}

func (l *loop) wantEscalated(n int, reason string) {
	l.t.Helper()
	got := l.escalations()
	if len(got) != n || n > 0 && !strings.Contains(got[0], reason) {
		l.t.Fatalf("escalations %q, want %d with %q", got, n, reason)
	}
}

func (l *loop) evidence(incident string) (actions []string) {
	l.t.Helper()
	for entry, err := range l.chain.Incident(incident) {
		if err != nil {
			l.t.Fatal(err)
		}
		actions = append(actions, entry.Action)
	}
	return actions
}

func TestProved(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		stop := l.run()
		l.fault()
		l.after(10 * time.Second)
		stop()
		c := l.want(Proved, "the rule is false, on samples after")
		j := l.jobs.jobs[c.Spec.ID]
		if j.Phase != automation.JobSucceeded || j.Parameters["unit"] != "shop.service" || !slices.Equal(j.Hosts, []string{"web-1"}) || !j.Verify || j.By != "remedy:restart-service" {
			t.Fatalf("job %+v", j)
		}
		l.wantEscalated(0, "")
		got := l.evidence(c.Incident)
		slices.Sort(got)
		if want := []string{"firing", "remedy.planned", "remedy.proved", "resolved"}; !slices.Equal(got, want) {
			t.Fatalf("evidence %q, want %q", got, want)
		}
	})
}

func TestRemedyThatDoesNothingFails(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.jobs.run = func(automation.Spec) (string, string) { return automation.JobVerifying, "" }
		stop := l.run()
		l.fault()
		l.after(2 * time.Minute)
		stop()
		c := l.want(Failed, "not proved within 30s: the rule still holds")
		if j := l.jobs.jobs[c.Spec.ID]; j.Phase != automation.JobFailed {
			t.Fatalf("job %+v", j)
		}
		l.wantEscalated(1, "did not help")
		if len(l.jobs.ran) != 1 || l.polls < 10 {
			t.Fatalf("%d jobs, %d polls", len(l.jobs.ran), l.polls)
		}
		if l.engine.Alerts()[0].Phase != alerting.Firing {
			t.Fatal("the alert is gone")
		}
	})
}

func TestSilenceProvesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.jobs.run = func(automation.Spec) (string, string) { l.silent = true; return automation.JobVerifying, "" }
		stop := l.run()
		l.fault()
		l.after(10 * time.Minute) // beyond the lookback: the rule gives no result
		stop()
		l.want(Failed, "does not answer")
		l.wantEscalated(1, "not proved within 30s")
	})
}

// A rule that a dead host makes false is not proved by the host's death.
func TestFalseUnseenProvesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.stop()
		l.rules = strings.Replace(rules, "== 0", "== 0 and on (job, instance) up == 1", 1)
		l.start()
		l.jobs.run = func(automation.Spec) (string, string) { l.silent = true; return automation.JobVerifying, "" }
		stop := l.run()
		l.fault()
		l.after(2 * time.Minute)
		stop()
		l.want(Failed, "does not answer")
		if a := l.engine.Alerts()[0]; a.Phase != alerting.Firing || !a.Stale {
			t.Fatalf("got %+v", a)
		}
	})
}

func TestJobThatFailsIsEscalatedAndNotRepeated(t *testing.T) {
	for _, phase := range []string{automation.JobFailed, automation.JobUnknown} {
		t.Run(phase, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *loop) {
				l.jobs.run = func(automation.Spec) (string, string) { return phase, "exit status 1" }
				stop := l.run()
				l.fault()
				l.after(10 * time.Second)
				stop()
				l.stop()
				l.start()
				stop = l.run()
				l.after(time.Minute)
				stop()
				l.want(Failed, "exit status 1")
				l.wantEscalated(1, phase)
				if len(l.jobs.ran) != 1 {
					t.Fatalf("%d jobs", len(l.jobs.ran))
				}
			})
		})
	}
}

func TestCanceledIsWithdrawn(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.jobs.run = func(automation.Spec) (string, string) { return automation.JobCanceled, "canceled by person:ada" }
		stop := l.run()
		l.fault()
		l.after(10 * time.Second)
		stop()
		l.want(Withdrawn, "person:ada")
		l.wantEscalated(0, "")
	})
}

func TestMissingLabelIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.stop()
		l.text = strings.Replace(remedies, ".Labels.name", ".Labels.nmae", 1)
		l.start()
		stop := l.run()
		l.fault()
		l.after(10 * time.Second)
		stop()
		l.want(Refused, `no entry for key "nmae"`)
		l.wantEscalated(1, "is not run")
		if l.jobs.submitted != 0 {
			t.Fatal("a job was submitted")
		}
	})
}

func TestJobThatIsInvalidIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.jobs.invalid = errors.New("unknown host web-1")
		stop := l.run()
		l.fault()
		l.after(10 * time.Second)
		stop()
		l.want(Refused, "unknown host web-1")
		l.wantEscalated(1, "unknown host web-1")
	})
}

func TestSkips(t *testing.T) {
	f := func(name, reason string, prepare func(l *loop)) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *loop) {
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- l.engine.Run(ctx) }()
				l.fault()
				l.after(5 * time.Second)
				prepare(l)
				l.after(5 * time.Second)
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				stop := l.run()
				l.after(5 * time.Second)
				stop()
				c := l.want(Skipped, reason)
				l.wantEscalated(0, "")
				if l.jobs.submitted != 0 || !slices.Contains(l.evidence(c.Incident), "remedy.skipped") {
					t.Fatalf("%d jobs, evidence %q", l.jobs.submitted, l.evidence(c.Incident))
				}
			})
		})
	}
	f("acknowledged", "person:ada", func(l *loop) {
		if err := l.engine.Ack(l.t.Context(), l.engine.Alerts()[0].Fingerprint, "person:ada", ""); err != nil {
			l.t.Fatal(err)
		}
	})
	f("maintenance", "host/web-1 is in maintenance", func(l *loop) {
		now := time.Now()
		if err := l.engine.Maintain(l.t.Context(), alerting.Maintenance{Item: "host/web-1", From: now, To: now.Add(time.Hour), By: "person:ada"}); err != nil {
			l.t.Fatal(err)
		}
	})
	f("resolved", "resolved already", func(l *loop) {
		l.active = true
		if err := l.poll(l.t.Context(), "web-1"); err != nil {
			l.t.Fatal(err)
		}
	})
}

// The concrete types are what the interfaces ask for.
var (
	_ Alerts = (*alerting.Engine)(nil)
	_ Jobs   = (*automation.Executor)(nil)
)
