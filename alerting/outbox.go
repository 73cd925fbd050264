package alerting

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/internal/state"
)

// Bounds of telling one receiver.
const (
	notifyTimeout = 10 * time.Second
	firstBackoff  = time.Second
	lastBackoff   = 5 * time.Minute
	// remindEvery is how often what is due by time alone is looked for: a
	// repetition, a maintenance that ended.
	remindEvery = 5 * time.Second
)

// outbox holds what receivers are still to be told. Each sender reads the log
// of transitions by its own durable cursor.
type outbox struct {
	parcels *state.Table[parcel]
	cursors *state.Table[uint64]

	mu       sync.Mutex // guards below
	senders  []*sender
	replaced chan struct{} // closed when they are
}

// parcel is what one receiver knows, and is to know, of one incident.
type parcel struct {
	Incident    string            `json:"incident"`
	Item        string            `json:"item,omitempty"`
	Episodes    map[string]told   `json:"episodes,omitempty"`
	Escalations []escalationEntry `json:"escalations,omitempty"`
	Sent        time.Time         `json:"sent,omitzero"` // the last one taken
}

type told struct {
	Resolved bool `json:"resolved,omitempty"`
	Sent     bool `json:"sent,omitempty"`  // the receiver knows that it fires
	Muted    bool `json:"muted,omitempty"` // it fired during maintenance
}

type escalationEntry struct {
	Episode string `json:"episode"`
	Reason  string `json:"reason"`
}

// NotifierStatus is how one receiver does.
type NotifierStatus struct {
	Name      string
	LastOK    time.Time
	LastError string // empty once it works again
	Waiting   int    // incidents it is still to be told of
}

// sender tells one receiver. What mu does not guard belongs to its goroutine.
type sender struct {
	e       *Engine
	name    string
	parcels map[string]*parcel // by incident
	cursor  uint64
	backoff time.Duration
	notYet  time.Time // until then the receiver is left alone

	sent, failed *metrics.Counter

	mu       sync.Mutex // guards below
	status   NotifierStatus
	notifier Notifier
}

func newOutbox(e *Engine) (*outbox, error) {
	b := &outbox{
		parcels:  state.NewTable[parcel](e.o.State, "alert.receiver", 1),
		cursors:  state.NewTable[uint64](e.o.State, "alert.cursor", 1),
		replaced: make(chan struct{}),
	}
	names, err := receiverNames(e.o.Notifiers)
	for i, name := range names {
		b.senders = append(b.senders, newSender(e, name, e.o.Notifiers[i]))
	}
	return b, err
}

func newSender(e *Engine, name string, n Notifier) *sender {
	return &sender{
		e: e, name: name, notifier: n, status: NotifierStatus{Name: name},
		sent:   metrics.GetOrCreateCounter(fmt.Sprintf("nocturne_alerting_notifications_total{receiver=%q}", name)),
		failed: metrics.GetOrCreateCounter(fmt.Sprintf("nocturne_alerting_notification_failures_total{receiver=%q}", name)),
	}
}

// Notifiers returns how each receiver does.
func (e *Engine) Notifiers() []NotifierStatus {
	var out []NotifierStatus
	senders, _ := e.outbox.standing()
	for _, s := range senders {
		s.mu.Lock()
		out = append(out, s.status)
		s.mu.Unlock()
	}
	return out
}

// restore reads what is still to be told. A receiver that is new is told of
// what fires now, not of the past.
func (s *sender) restore() error {
	s.parcels = map[string]*parcel{}
	for rec, err := range s.e.outbox.parcels.All(s.name + "/") {
		if err != nil {
			return err
		}
		s.parcels[rec.Value.Incident] = &rec.Value
	}
	var err error
	if s.cursor, _, err = s.e.outbox.cursors.Get(s.name); err == nil || !errors.Is(err, state.ErrNotFound) {
		return err
	}
	for _, a := range s.e.Alerts() {
		if a.Phase == Firing {
			if err := s.apply(transition(a, Pending)); err != nil {
				return err
			}
		}
	}
	return s.move(s.e.transitions.Last())
}

func (s *sender) move(to uint64) error {
	_, _, err := s.e.outbox.cursors.Update(s.name, func(v *uint64, _ bool) error {
		*v = to
		return nil
	})
	if err == nil {
		s.cursor = to
	}
	return err
}

// run tells the receiver until ctx ends. While nothing can be written down it
// tells nobody anything, and then begins again at what is written.
func (s *sender) run(ctx context.Context) error {
	for {
		err := s.work(ctx)
		if ctx.Err() != nil || !errors.Is(err, state.ErrReadOnly) {
			return err
		}
		s.e.log.Error("receiver is not told until notifications can be written down", "receiver", s.name, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(remindEvery):
		}
	}
}

func (s *sender) work(ctx context.Context) error {
	if err := s.restore(); err != nil {
		return fmt.Errorf("restore what %s is to be told: %w", s.name, err)
	}
	for {
		if err := s.read(); err != nil {
			return fmt.Errorf("queue notifications for %s: %w", s.name, err)
		}
		if err := s.deliver(ctx); err != nil {
			return fmt.Errorf("note what %s was told: %w", s.name, err)
		}
		wait, cancel := context.WithTimeout(ctx, s.patience())
		err := s.e.transitions.Wait(wait, s.cursor)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// patience is how long nothing need be done without a new transition.
func (s *sender) patience() time.Duration {
	if d := time.Until(s.notYet); d > 0 {
		return min(d, remindEvery)
	}
	return remindEvery
}

// read turns new transitions into parcels; they are durable before the cursor.
func (s *sender) read() error {
	to := s.cursor
	for entry, err := range s.e.transitions.Read(s.cursor + 1) {
		if err != nil {
			return err
		}
		if err := s.apply(entry.Value); err != nil {
			return err
		}
		to = entry.Seq
	}
	if to == s.cursor {
		return nil
	}
	return s.move(to)
}

// apply notes one transition; again, it changes nothing.
func (s *sender) apply(tr Transition) error {
	if tr.To != Firing && tr.To != Resolved && tr.To != Escalated {
		return nil
	}
	p := s.parcels[tr.Incident]
	if p == nil {
		p = &parcel{Incident: tr.Incident, Item: tr.Item}
	}
	t, known := p.Episodes[tr.Episode]
	switch {
	case tr.To == Firing && known, tr.To == Resolved && !known:
		return nil
	case tr.To == Firing:
		_, muted := s.e.Maintained(tr.Item, tr.At)
		p.set(tr.Episode, told{Muted: muted})
	case tr.To == Resolved && t.Muted && !t.Sent:
		delete(p.Episodes, tr.Episode)
	case tr.To == Resolved:
		t.Resolved = true
		p.set(tr.Episode, t)
	default:
		one := escalationEntry{Episode: tr.Episode, Reason: tr.Reason}
		if slices.Contains(p.Escalations, one) {
			return nil
		}
		p.Escalations = append(p.Escalations, one)
	}
	s.parcels[tr.Incident] = p
	return s.put(p)
}

func (p *parcel) set(episode string, t told) {
	if p.Episodes == nil {
		p.Episodes = map[string]told{}
	}
	p.Episodes[episode] = t
}

// put stores a parcel, or drops it when there is nothing left in it.
func (s *sender) put(p *parcel) error {
	id := s.name + "/" + p.Incident
	if len(p.Episodes) > 0 || len(p.Escalations) > 0 {
		return s.e.outbox.parcels.PutMany([]state.Record[parcel]{{ID: id, Value: *p}})
	}
	delete(s.parcels, p.Incident)
	_, rev, err := s.e.outbox.parcels.Get(id)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.e.outbox.parcels.Delete(id, rev)
}

// deliver sends what is due. The first failure ends the round: they all go to
// one receiver.
func (s *sender) deliver(ctx context.Context) error {
	waiting := 0
	for _, incident := range slices.Sorted(maps.Keys(s.parcels)) {
		p := s.parcels[incident]
		for ctx.Err() == nil {
			n, after, ok, err := s.due(p, time.Now())
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if time.Now().Before(s.notYet) {
				waiting++
				break
			}
			if err := s.attempted(p, after); err != nil {
				return err
			}
			if !s.send(ctx, n) {
				waiting++
				break
			}
			*p = after
			if err := s.put(p); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	s.status.Waiting = waiting
	s.mu.Unlock()
	return nil
}

// due returns the next notification of a parcel, and the parcel after it.
func (s *sender) due(p *parcel, now time.Time) (n Notification, after parcel, ok bool, err error) {
	after = *p
	after.Episodes, after.Sent = maps.Clone(p.Episodes), now.UTC()
	news, reminds := false, false
	var alerts []NotifiedAlert
	for _, ep := range slices.Sorted(maps.Keys(p.Episodes)) {
		t := p.Episodes[ep]
		a, err := s.e.Episode(ep)
		if err != nil {
			return n, after, false, err
		}
		_, muted := s.e.Maintained(a.Item, now)
		switch {
		case t.Resolved:
			news = true
			delete(after.Episodes, ep)
		case muted || a.Phase != Firing: // its end is in the log and will be read
			continue
		default:
			news = news || !t.Sent
			reminds = reminds || a.Ack == nil
			t.Sent, t.Muted = true, false
			after.Episodes[ep] = t
		}
		alerts = append(alerts, s.e.notified(a))
	}
	if news || reminds && now.Sub(p.Sent) >= s.e.o.Repeat {
		return s.e.notification(p.Incident, p.Item, alerts), after, true, nil
	}
	if len(p.Escalations) == 0 {
		return n, after, false, nil
	}
	a, err := s.e.Episode(p.Escalations[0].Episode)
	if err != nil {
		return n, after, false, err
	}
	after = *p
	after.Escalations = p.Escalations[1:]
	return s.e.escalation(a, p.Escalations[0].Reason), after, true, nil
}

// attempted notes that the receiver is about to be told of what fired during a
// maintenance: even if no answer comes it may know, and must hear of the end.
func (s *sender) attempted(p *parcel, after parcel) error {
	news := false
	for ep, t := range p.Episodes {
		if to, on := after.Episodes[ep]; on && t.Muted && !to.Muted {
			t.Muted, news = false, true
			p.Episodes[ep] = t
		}
	}
	if !news {
		return nil
	}
	return s.put(p)
}

// send tells whether the receiver is done with n: it took it or will never.
func (s *sender) send(ctx context.Context, n Notification) bool {
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	s.mu.Lock()
	notifier := s.notifier
	s.mu.Unlock()
	err := notifier.Notify(ctx, n)
	rejected := errors.Is(err, ErrRejected)
	if err != nil {
		s.failed.Inc()
		s.e.log.Error("notification not delivered", "receiver", s.name, "incident", n.Incident, "given_up", rejected, "err", err)
	} else {
		s.sent.Inc()
	}
	if err == nil || rejected {
		s.backoff, s.notYet = 0, time.Time{}
		s.tell(n, err)
	} else {
		s.backoff = min(lastBackoff, max(firstBackoff, 2*s.backoff))
		s.notYet = time.Now().Add(s.backoff/2 + rand.N(s.backoff/2))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.LastError = ""
	if err != nil {
		s.status.LastError = err.Error()
	} else {
		s.status.LastOK = time.Now().UTC()
	}
	return err == nil || rejected
}

// tell leaves the evidence. The receiver has been told whether or not it can
// be written down, so a fault is logged.
func (s *sender) tell(n Notification, failed error) {
	data := struct {
		Receiver   string   `json:"receiver"`
		Firing     bool     `json:"firing"`
		Escalation bool     `json:"escalation,omitempty"`
		Alerts     []string `json:"alerts"` // fingerprints
		Error      string   `json:"error,omitempty"`
	}{Receiver: s.name, Firing: n.Firing, Escalation: n.Escalation}
	for _, a := range n.Alerts {
		data.Alerts = append(data.Alerts, a.Fingerprint)
	}
	action := "notify"
	if failed != nil {
		action, data.Error = "notification rejected", failed.Error()
	}
	if err := s.e.ledger("system", action, subject(n.Item, data.Alerts[0]), n.Incident, data); err != nil {
		s.e.log.Error("notification not in the ledger", "receiver", s.name, "err", err)
	}
}
