package collector

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/value"

	"nocturne/internal/need"
)

// fake is a Source that does what a test says, and watches for two polls of
// one target at once.
type fake struct {
	mu      sync.Mutex
	do      func(ctx context.Context, t Target) (Result, error)
	starts  map[string][]time.Time
	running map[string]int
	twice   []string
	most    int
	total   int
}

func newFake(do func(ctx context.Context, t Target) (Result, error)) *fake {
	return &fake{do: do, starts: map[string][]time.Time{}, running: map[string]int{}}
}

func (f *fake) Poll(ctx context.Context, t Target) (Result, error) {
	f.mu.Lock()
	f.starts[t.Name] = append(f.starts[t.Name], time.Now())
	f.running[t.Name]++
	f.total++
	f.most = max(f.most, f.total)
	if f.running[t.Name] > 1 {
		f.twice = append(f.twice, t.Name)
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.running[t.Name]--
		f.total--
	}()
	return f.do(ctx, t)
}

func (f *fake) startsOf(name string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.starts[name]...)
}

// store is the history of a test.
type store struct {
	mu      sync.Mutex
	samples []Sample
	fail    error
}

func (s *store) append(_ context.Context, in []Sample) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.samples = append(s.samples, in...)
	return nil
}

// of returns the values of a series of a target, "stale" for its markers.
func (s *store) of(name, instance string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, smp := range s.samples {
		if smp.Labels.Get("__name__") == name && smp.Labels.Get("instance") == instance {
			if value.IsStaleNaN(smp.V) {
				out = append(out, "stale")
			} else {
				out = append(out, fmt.Sprint(smp.V))
			}
		}
	}
	return out
}

func quick(context.Context, Target) (Result, error) { return Result{}, nil }

func hang(ctx context.Context, _ Target) (Result, error) {
	<-ctx.Done()
	return Result{}, ctx.Err()
}

// start runs a Scheduler until the test's end.
func start(t *testing.T, o Options) *Scheduler {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func set(t *testing.T, s *Scheduler, targets ...Target) {
	t.Helper()
	if err := s.Set(targets); err != nil {
		t.Fatal(err)
	}
}

func status(s *Scheduler, name string) TargetStatus {
	for _, st := range s.Status() {
		if st.Name == name {
			return st
		}
	}
	return TargetStatus{}
}

// A thousand targets, a tenth of them dead: the others keep their slots, also
// where the dead alone could fill all there are.
func TestDeadTargetsDelayNobody(t *testing.T) {
	_, r := need.Seed(t)
	dead := map[string]bool{}
	for range 100 {
		dead[fmt.Sprintf("sw%d", r.IntN(1000))] = true
	}
	for name, tc := range map[string]struct {
		concurrent int
		settle     time.Duration // until it is known who is dead
	}{
		"slots for all of the dead": {0, 0},
		"fewer slots than that":     {24, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { thousand(t, dead, tc.concurrent, tc.settle) })
		})
	}
}

func thousand(t *testing.T, dead map[string]bool, concurrent int, settle time.Duration) {
	const interval, rounds = 30 * time.Second, 20
	src := newFake(func(ctx context.Context, tg Target) (Result, error) {
		if dead[tg.Name] {
			return hang(ctx, tg)
		}
		time.Sleep(100 * time.Millisecond)
		return Result{}, nil
	})
	var st store
	s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: st.append, MaxConcurrent: concurrent})
	var targets []Target
	for i := range 1000 {
		targets = append(targets, Target{Name: fmt.Sprintf("sw%d", i), Kind: "snmp", Interval: interval})
	}
	set(t, s, targets...)
	time.Sleep(settle)
	before := map[string]TargetStatus{}
	for _, tg := range s.Status() {
		before[tg.Name] = tg
	}
	settled := time.Now()
	time.Sleep(rounds * interval)
	synctest.Wait()
	if len(src.twice) > 0 || src.most > cmp.Or(concurrent, defaultConcurrent) {
		t.Errorf("polled twice at once: %v; %d polls at one time", src.twice, src.most)
	}
	worst := time.Duration(0)
	seconds := map[int]int{}
	for _, tg := range s.Status() {
		if dead[tg.Name] {
			if tg.Failures == 0 || !strings.Contains(tg.Err, tg.Name) {
				t.Errorf("%s: %d failures, %q", tg.Name, tg.Failures, tg.Err)
			}
			continue
		}
		was := before[tg.Name]
		if tg.Debt > was.Debt || tg.Failures > 0 || tg.Polls-was.Polls < rounds {
			t.Errorf("%s: debt %d, %d of %d polls failed", tg.Name, tg.Debt-was.Debt, tg.Failures, tg.Polls-was.Polls)
		}
		for _, at := range src.startsOf(tg.Name)[1:] { // the first one is the early one
			if at.Before(settled) {
				continue
			}
			slot := nextSlot(at.Add(-interval), interval, hashName(tg.Name))
			worst = max(worst, at.Sub(slot))
			seconds[slot.Second()%30]++
		}
	}
	t.Logf("worst delay behind a slot: %v", worst)
	if worst > time.Second {
		t.Errorf("a live target started %v behind its slot", worst)
	}
	for s, n := range seconds {
		if n > 3*rounds*900/30 {
			t.Errorf("second %d has %d polls of %d: not spread", s, n, rounds*900)
		}
	}
}

// One kind that hangs altogether leaves the other kind its slots.
func TestOneKindDoesNotStarveAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast := newFake(quick)
		var st store
		s := start(t, Options{
			Sources: map[string]Source{"openstack": newFake(hang), "linux": newFake(hang), "snmp": fast}, Append: st.append, MaxConcurrent: 12,
		})
		var targets []Target
		for i := range 200 {
			targets = append(targets,
				Target{Name: fmt.Sprintf("cloud%d", i), Kind: "openstack", Interval: 10 * time.Second},
				Target{Name: fmt.Sprintf("host%d", i), Kind: "linux", Interval: 10 * time.Second},
				Target{Name: fmt.Sprintf("sw%d", i), Kind: "snmp", Interval: 10 * time.Second})
		}
		set(t, s, targets...)
		time.Sleep(5 * time.Minute)
		debt := 0
		for _, tg := range s.Status() {
			switch {
			case tg.Kind == "snmp" && (tg.Debt > 0 || tg.Polls < 30):
				t.Errorf("%s: debt %d, %d polls", tg.Name, tg.Debt, tg.Polls)
			case tg.Kind != "snmp":
				debt += tg.Debt
			}
		}
		if debt == 0 {
			t.Error("400 targets that hang, 12 slots, and no poll debt")
		}
	})
}

func TestSlotsKeepTheirPlace(t *testing.T) {
	for _, name := range []string{"a", "b", "sw1", "a much longer name"} {
		now := time.Unix(1_700_000_000, 12345)
		for range 100 {
			next := nextSlot(now, time.Minute, hashName(name))
			if !next.After(now) || next.Sub(now) > time.Minute {
				t.Fatalf("%s: %v after %v", name, next, now)
			}
			if got := uint64(next.UnixNano()) % uint64(time.Minute); got != hashName(name)%uint64(time.Minute) {
				t.Fatalf("%s: offset %d", name, got)
			}
			now = now.Add(7777 * time.Millisecond)
		}
	}
}
