package alerting

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// retireAgain is how long alerts of removed rules wait when they could not be
// resolved.
const retireAgain = 5 * time.Second

// Replace takes other rules and receivers in the place of those that are
// there, once the evaluations under way have ended. Alerts that are pending or
// firing go on under the rule of the same group and name; those whose rule is
// gone are resolved. A receiver that stays knows what it knew. interval is of
// groups that name none. With a fault anywhere nothing changes.
func (e *Engine) Replace(files []File, notifiers []Notifier, interval time.Duration) error {
	groups, faults := parse(files)
	if len(faults) > 0 {
		return ParseRules(files)
	}
	names, err := receiverNames(notifiers)
	if err != nil {
		return err
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	e.mu.Lock()
	e.o.Interval = cmp.Or(interval, e.o.Interval)
	e.setRules(groups, nil)
	close(e.replaced)
	e.replaced = make(chan struct{})
	e.mu.Unlock()
	e.outbox.replace(e, names, notifiers)
	e.signal.send()
	return nil
}

// setRules installs what parse returned. How a rule did is kept where it asks
// what it asked before.
func (e *Engine) setRules(groups []*group, faults []*RuleError) {
	before, health := e.byKey, e.health
	e.groups, e.faults, e.byKey, e.health = groups, faults, map[string]*rule{}, map[*rule]RuleStatus{}
	for _, g := range groups {
		g.interval = cmp.Or(g.interval, e.o.Interval)
		for _, r := range g.rules {
			s := r.status(g.interval)
			s.Loaded = time.Now()
			if old := before[r.id]; old != nil && old.query == r.query {
				was := health[old]
				s.Health, s.LastError, s.LastEval, s.Duration, s.Loaded = was.Health, was.LastError, was.LastEval, was.Duration, was.Loaded
			}
			e.byKey[r.id], e.health[r] = r, s
		}
	}
}

// standing are the groups, and what is closed when they are replaced.
func (e *Engine) standing() ([]*group, <-chan struct{}) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.groups, e.replaced
}

// runRules runs the groups, and others when they are replaced, until ctx ends.
func (e *Engine) runRules(ctx context.Context) error {
	for ctx.Err() == nil {
		groups, replaced := e.standing()
		turn, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { e.keepRetiring(turn) })
		for _, g := range groups {
			wg.Go(func() { e.runGroup(turn, g) })
		}
		select {
		case <-ctx.Done():
		case <-replaced:
		}
		cancel()
		wg.Wait()
	}
	return nil
}

// keepRetiring resolves the alerts of rules that are gone, until it is done.
func (e *Engine) keepRetiring(ctx context.Context) {
	for {
		err := e.retire(ctx, time.Now())
		if err == nil || ctx.Err() != nil {
			return
		}
		e.log.Error("alerts of rules that are gone are not resolved yet", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retireAgain):
		}
	}
}

// receiverNames are what notifiers call themselves, or their places.
func receiverNames(notifiers []Notifier) (names []string, err error) {
	for i, n := range notifiers {
		name := "notifier-" + strconv.Itoa(i)
		if named, ok := n.(interface{ Name() string }); ok {
			name = cmp.Or(named.Name(), name)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("notifier %q: the name is taken", name)
		}
		names = append(names, name)
	}
	return names, nil
}

func (b *outbox) standing() ([]*sender, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.senders, b.replaced
}

// replace keeps the senders whose name stays.
func (b *outbox) replace(e *Engine, names []string, notifiers []Notifier) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var next []*sender
	for i, name := range names {
		n := slices.IndexFunc(b.senders, func(s *sender) bool { return s.name == name })
		if n < 0 {
			next = append(next, newSender(e, name, notifiers[i]))
			continue
		}
		s := b.senders[n]
		s.mu.Lock()
		s.notifier = notifiers[i]
		s.mu.Unlock()
		next = append(next, s)
	}
	b.senders = next
	close(b.replaced)
	b.replaced = make(chan struct{})
}

// run runs the senders, those that come later too, until ctx ends or one
// fails. One that goes has ended before another of its name begins.
func (b *outbox) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	leave := map[*sender]func(){}
	for ctx.Err() == nil {
		senders, replaced := b.standing()
		for s, end := range leave {
			if !slices.Contains(senders, s) {
				end()
				delete(leave, s)
			}
		}
		for _, s := range senders {
			if leave[s] == nil {
				leave[s] = startSender(ctx, g, s)
			}
		}
		select {
		case <-ctx.Done():
		case <-replaced:
		}
	}
	return g.Wait()
}

// startSender returns what ends the sender, and waits for it.
func startSender(ctx context.Context, g *errgroup.Group, s *sender) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	g.Go(func() error {
		defer close(ended)
		return s.run(ctx)
	})
	return func() {
		cancel()
		<-ended
	}
}
