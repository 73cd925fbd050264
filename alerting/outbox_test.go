package alerting

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nocturne/internal/inventory"
)

// receiver is a Notifier that keeps what it takes and fails on demand.
type receiver struct {
	mu    sync.Mutex
	fail  error
	tries int
	got   []Notification
}

func (r *receiver) Name() string { return "test" }

func (r *receiver) Notify(_ context.Context, n Notification) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	if r.fail != nil {
		return r.fail
	}
	r.got = append(r.got, n)
	return nil
}

func (r *receiver) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// told lists the notifications as "firing:1 resolved:0".
func (r *receiver) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, n := range r.got {
		firing := 0
		for _, a := range n.Alerts {
			if a.Firing {
				firing++
			}
		}
		s := fmt.Sprintf("firing:%d resolved:%d", firing, len(n.Alerts)-firing)
		if n.Escalation {
			s += " escalation"
		}
		out = append(out, s)
	}
	return out
}

func (h *house) wantTold(r *receiver, want ...string) {
	h.t.Helper()
	synctest.Wait()
	if got := r.told(); fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Fatalf("told %q, want %q", got, want)
	}
}

// inBubble runs f with an engine on stores of its own, all on fake time.
func inBubble(t *testing.T, rules string, notifiers []Notifier, f func(t *testing.T, h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: t.TempDir(), rules: rules, notifiers: notifiers, poll: 15 * time.Second}
		h.start()
		defer h.stop()
		f(t, h)
	})
}

// run starts the engine; the returned function ends it.
func (h *house) run() (stop func()) {
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error)
	go func() { done <- h.e.Run(ctx) }()
	return func() {
		h.t.Helper()
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
}

const loadRule = `
groups:
- name: host
  interval: 5s
  rules:
  - {alert: Load, expr: node_load1 > 8}
`

func (h *house) load(v float64) {
	h.t.Helper()
	h.put(time.Now(), v, "__name__", "node_load1", "job", "linux", "instance", "web-1")
}

func TestNotifications(t *testing.T) {
	r := &receiver{}
	inBubble(t, loadRule, []Notifier{r}, func(t *testing.T, h *house) {
		h.repeat = 10 * time.Minute
		h.engine()
		stop := h.run()
		h.load(9)
		time.Sleep(6 * time.Second)
		h.wantTold(r, "firing:1 resolved:0")
		if n := r.got[0]; n.Alerts[0].Labels["alertname"] != "Load" || n.CommonLabels["instance"] != "web-1" || n.Key != h.one().Incident {
			t.Fatalf("got %+v", n)
		}
		for range 11 { // what goes on is told again
			time.Sleep(time.Minute)
			h.load(9)
		}
		h.wantTold(r, "firing:1 resolved:0", "firing:1 resolved:0")
		if err := h.e.Ack(t.Context(), h.one().Fingerprint, "person:ada", ""); err != nil {
			t.Fatal(err)
		}
		for range 11 { // but not to a person who knows
			time.Sleep(time.Minute)
			h.load(9)
		}
		h.wantTold(r, "firing:1 resolved:0", "firing:1 resolved:0")
		if err := h.e.Escalate(t.Context(), h.one().Episode, "the remedy failed"); err != nil {
			t.Fatal(err)
		}
		if err := h.e.Escalate(t.Context(), h.one().Episode, "the remedy failed"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		h.wantTold(r, "firing:1 resolved:0", "firing:1 resolved:0", "firing:1 resolved:0 escalation")
		if a := r.got[2].Alerts[0]; a.Labels["escalation"] != "true" || a.Annotations["reason"] != "the remedy failed" {
			t.Fatalf("got %+v", a)
		}
		h.load(1)
		time.Sleep(6 * time.Second)
		h.wantTold(r, "firing:1 resolved:0", "firing:1 resolved:0", "firing:1 resolved:0 escalation", "firing:0 resolved:1")
		stop()
		for rec := range h.e.outbox.parcels.All("") {
			t.Errorf("left in the outbox: %+v", rec.Value)
		}
	})
}

func TestNotificationSurvivesKillAndFailures(t *testing.T) {
	r := &receiver{fail: errors.New("503")}
	inBubble(t, loadRule, []Notifier{r}, func(t *testing.T, h *house) {
		stop := h.run()
		h.load(9)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if r.tries < 2 || r.tries > 8 {
			t.Fatalf("%d attempts in 20 s", r.tries)
		}
		if s := h.e.Notifiers()[0]; s.LastError != "503" || s.Waiting != 1 {
			t.Fatalf("got %+v", s)
		}
		stop()
		h.restart()
		stop = h.run()
		time.Sleep(20 * time.Second)
		h.wantTold(r)
		r.set(nil)
		time.Sleep(time.Minute)
		h.wantTold(r, "firing:1 resolved:0")
		stop()
		h.restart() // what was told is not told again
		stop = h.run()
		time.Sleep(time.Minute)
		h.wantTold(r, "firing:1 resolved:0")
		h.load(1)
		time.Sleep(6 * time.Second)
		h.wantTold(r, "firing:1 resolved:0", "firing:0 resolved:1")
		stop()
	})
}

func TestRejectedIsGivenUp(t *testing.T) {
	r := &receiver{fail: fmt.Errorf("400: %w", ErrRejected)}
	inBubble(t, loadRule, []Notifier{r}, func(t *testing.T, h *house) {
		stop := h.run()
		h.load(9)
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.tries != 1 || h.e.Notifiers()[0].LastError == "" {
			t.Fatalf("%d attempts, %+v", r.tries, h.e.Notifiers())
		}
		stop()
	})
}

func TestMaintenanceMutesNotificationsOnly(t *testing.T) {
	r := &receiver{}
	inBubble(t, loadRule, []Notifier{r}, func(t *testing.T, h *house) {
		h.site()
		now := time.Now()
		if err := h.e.Maintain(t.Context(), Maintenance{ID: "m", Item: "rack/r01", From: now, To: now.Add(3 * time.Minute), By: "person:ada"}); err != nil {
			t.Fatal(err)
		}
		stop := h.run()
		h.load(9)
		time.Sleep(time.Minute)
		if a := h.one(); a.Phase != Firing || a.Item != "host/web-1" {
			t.Fatalf("got %+v", a)
		}
		h.wantTold(r)
		h.load(1) // fired and resolved within the window: nobody is told
		time.Sleep(10 * time.Second)
		h.load(9)
		time.Sleep(time.Minute)
		h.wantTold(r)
		time.Sleep(time.Minute) // the window ends, the fault goes on
		h.wantTold(r, "firing:1 resolved:0")
		h.load(9)
		now = time.Now()
		if err := h.e.Maintain(t.Context(), Maintenance{ID: "m2", Item: "host/web-1", From: now, To: now.Add(time.Hour), By: "person:ada"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		h.load(1) // a resolve is told during maintenance too
		time.Sleep(6 * time.Second)
		h.wantTold(r, "firing:1 resolved:0", "firing:0 resolved:1")
		stop()
	})
}

func TestNewReceiverIsToldWhatFires(t *testing.T) {
	r := &receiver{}
	inBubble(t, loadRule, nil, func(t *testing.T, h *house) {
		stop := h.run()
		h.load(9)
		time.Sleep(6 * time.Second)
		h.load(1)
		time.Sleep(6 * time.Second)
		h.load(9)
		time.Sleep(6 * time.Second)
		stop()
		h.notifiers = []Notifier{r}
		h.restart()
		stop = h.run()
		time.Sleep(6 * time.Second)
		h.wantTold(r, "firing:1 resolved:0")
		stop()
	})
}

// noAnswer takes every notification, and its answer is lost.
type noAnswer struct{ receiver }

func (r *noAnswer) Notify(ctx context.Context, n Notification) error {
	return errors.Join(r.receiver.Notify(ctx, n), errors.New("connection reset"))
}

// What fired during a maintenance is told behind it. When the receiver's answer
// is lost it may have been told, so it hears of the end.
func TestResolveBehindALostAnswer(t *testing.T) {
	r := &noAnswer{}
	inBubble(t, loadRule, []Notifier{r}, func(t *testing.T, h *house) {
		if _, err := h.graph.ImportYAML(t.Context(), "f", []byte("sites: [{name: s, rooms: [{name: r, racks: [{name: k, contents: [{kind: host, name: web-1}]}]}]}]"), "person:ada"); err != nil {
			t.Fatal(err)
		}
		fact := inventory.Fact{Kind: "host", Key: "web-1", Name: "web-1", Binding: map[string]string{"job": "linux", "instance": "web-1"}}
		if err := h.graph.Observe(t.Context(), inventory.Observation{Source: "linux", Target: "web-1", At: time.Now(), Facts: []inventory.Fact{fact}}); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if err := h.e.Maintain(t.Context(), Maintenance{Item: "host/web-1", From: now, To: now.Add(20 * time.Second), By: "person:ada"}); err != nil {
			t.Fatal(err)
		}
		stop := h.run()
		defer stop()
		h.load(9)
		time.Sleep(15 * time.Second)
		h.wantTold(&r.receiver)
		time.Sleep(10 * time.Second) // the maintenance is over
		synctest.Wait()
		if got := r.told(); len(got) == 0 || got[0] != "firing:1 resolved:0" {
			t.Fatalf("told %q behind the maintenance", got)
		}
		h.load(1)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := r.told(); got[len(got)-1] != "firing:0 resolved:1" {
			t.Fatalf("told %q, and never of the end", got)
		}
	})
}
