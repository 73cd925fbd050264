package collector

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func TestUpAndDurationAfterEveryPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(func(_ context.Context, tg Target) (Result, error) {
			time.Sleep(2 * time.Second)
			switch tg.Name {
			case "bad":
				return Result{}, errors.New("no answer")
			case "panics":
				panic("boom")
			}
			return Result{Samples: []Sample{{Labels: labels.FromStrings("__name__", "x", "instance", tg.Name), V: 7}}}, nil
		})
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src, "local": src}, Append: st.append})
		for _, name := range []string{"good", "bad", "panics"} {
			set(t, s, Target{Name: name, Kind: "snmp", Address: "192.0.2.1"}, Target{Name: "here", Kind: "local"})
			err := s.PollNow(t.Context(), name)
			if (err == nil) != (name == "good") {
				t.Errorf("%s: %v", name, err)
			}
			up := map[string]string{"good": "1", "bad": "0", "panics": "0"}[name]
			if got := st.of("up", name); len(got) == 0 || got[0] != up {
				t.Errorf("%s: up is %v", name, got)
			}
			if got := st.of("scrape_duration_seconds", name); len(got) == 0 || got[0] != "2" {
				t.Errorf("%s: duration is %v", name, got)
			}
			if name != "good" {
				if st := status(s, name); !strings.Contains(st.Err, name) || !strings.Contains(st.Err, "192.0.2.1") || st.Failures == 0 || !st.LastOK.IsZero() {
					t.Errorf("%s: %+v", name, st)
				}
			}
		}
		if err := s.PollNow(t.Context(), "here"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		for _, smp := range st.samples {
			job := map[string]string{"here": "linux"}[smp.Labels.Get("instance")]
			if smp.Labels.Get("__name__") == "up" && smp.Labels.Get("job") != job && (job != "" || smp.Labels.Get("job") != "snmp") {
				t.Errorf("labels %s", smp.Labels)
			}
		}
	})
}

func TestPollNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(func(context.Context, Target) (Result, error) {
			time.Sleep(3 * time.Second)
			return Result{}, nil
		})
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: st.append, FirstWithin: time.Nanosecond})
		set(t, s, Target{Name: "a", Kind: "snmp", Interval: time.Hour})
		time.Sleep(time.Second) // the first poll is under way: it began before the call
		asked := time.Now()
		errs := make(chan error, 3)
		for range 3 {
			go func() { errs <- s.PollNow(t.Context(), "a") }()
		}
		for range 3 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(asked); took != 5*time.Second { // 2 s of the one running, 3 s of their own
			t.Errorf("answered after %v", took)
		}
		starts := src.startsOf("a")
		if len(starts) != 2 || starts[1].Before(asked) || len(src.twice) > 0 {
			t.Errorf("polls at %v, asked at %v", starts, asked)
		}
		if got := st.of("up", "a"); len(got) != 2 {
			t.Errorf("answered before the samples were stored: %v", got)
		}

		if err := s.PollNow(t.Context(), "nobody"); !errors.Is(err, ErrUnknownTarget) {
			t.Errorf("unknown target: %v", err)
		}
		go func() { errs <- s.PollNow(t.Context(), "a") }()
		synctest.Wait()
		set(t, s)
		if err := <-errs; err == nil {
			t.Error("a removed target's poll is said to be well")
		}
		set(t, s, Target{Name: "a", Kind: "snmp", Interval: time.Hour})
		synctest.Wait()
		st.fail = errors.New("disk is full")
		if err := s.PollNow(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "disk is full") {
			t.Errorf("samples not stored, and: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.PollNow(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("caller's deadline: %v", err)
		}
	})
}

func TestStaleMarkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		have, partial, fails := []string{"x", "y"}, false, false
		src := newFake(func(_ context.Context, tg Target) (Result, error) {
			mu.Lock()
			defer mu.Unlock()
			if fails {
				return Result{}, errors.New("no answer")
			}
			var r Result
			for _, n := range have {
				r.Samples = append(r.Samples, Sample{Labels: labels.FromStrings("__name__", n, "instance", tg.Name), V: 1})
			}
			if partial {
				r.Partial = []error{errors.New("table y: timeout")}
			}
			return r, nil
		})
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: st.append})
		a := Target{Name: "a", Kind: "snmp", Interval: time.Hour}
		set(t, s, a)
		step := func(series []string, part, fail bool, wantX, wantY string) {
			t.Helper()
			mu.Lock()
			have, partial, fails = series, part, fail
			mu.Unlock()
			if err := s.PollNow(t.Context(), "a"); (err != nil) != fail {
				t.Fatal(err)
			}
			if x, y := strings.Join(st.of("x", "a"), " "), strings.Join(st.of("y", "a"), " "); x != wantX || y != wantY {
				t.Errorf("x: %s (want %s), y: %s (want %s)", x, wantX, y, wantY)
			}
		}
		step([]string{"x", "y"}, false, false, "1", "1")
		step([]string{"x"}, true, false, "1 1", "1")            // not seen is not gone
		step(nil, false, true, "1 1", "1")                      // nor is a failed poll's
		step([]string{"x"}, false, false, "1 1 1", "1 stale")   // a whole poll lacks it
		step([]string{"x"}, false, false, "1 1 1 1", "1 stale") // once
		step([]string{"x", "y"}, false, false, "1 1 1 1 1", "1 stale 1")
		if st := status(s, "a"); st.Partial || st.Err != "" {
			t.Errorf("status %+v", st)
		}
		set(t, s)
		synctest.Wait()
		if got := strings.Join(st.of(PartialMetric, "a"), " "); !strings.HasPrefix(got, "0 1 0 0 0") { // a failed poll is none in part
			t.Errorf("partial: %s", got)
		}
		for _, name := range []string{"x", "y", "up", "scrape_duration_seconds", PartialMetric} {
			if got := st.of(name, "a"); got[len(got)-1] != "stale" {
				t.Errorf("%s of a removed target: %v", name, got)
			}
		}
		last := map[string]int64{}
		for _, smp := range st.samples {
			if k := smp.Labels.String(); smp.T <= last[k] {
				t.Errorf("%s at %d after %d", k, smp.T, last[k])
			} else {
				last[k] = smp.T
			}
		}
	})
}

// A marker that could not be stored is not forgotten.
func TestStaleMarkersOutliveAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		have, full := []string{"x", "y"}, false
		src := newFake(func(_ context.Context, tg Target) (r Result, err error) {
			for _, n := range have {
				r.Samples = append(r.Samples, Sample{Labels: labels.FromStrings("__name__", n, "instance", tg.Name), V: 1})
			}
			return r, nil
		})
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: func(ctx context.Context, samples []Sample) error {
			if full {
				return errors.New("disk is full")
			}
			return st.append(ctx, samples)
		}})
		set(t, s, Target{Name: "a", Kind: "snmp", Interval: time.Hour})
		for _, c := range []struct {
			have []string
			full bool
			y    string
		}{
			{[]string{"x", "y"}, false, "1"},
			{[]string{"x", "z"}, true, "1"},
			{[]string{"x"}, true, "1"},
			{[]string{"x"}, false, "1 stale"},
			{[]string{"x"}, false, "1 stale"},
		} {
			have, full = c.have, c.full
			if err := s.PollNow(t.Context(), "a"); (err != nil) != c.full {
				t.Fatal(err)
			}
			if y := strings.Join(st.of("y", "a"), " "); y != c.y {
				t.Errorf("y: %s, want %s", y, c.y)
			}
		}
	})
}

// A target that is removed while it is polled, and there again at once, is
// never polled twice at once, and its marker comes before its new samples.
func TestRemovedAndThereAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(func(context.Context, Target) (Result, error) {
			time.Sleep(3 * time.Second) // deaf to its context
			return Result{}, nil
		})
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src, "linux": src}, Append: st.append})
		a := Target{Name: "a", Kind: "snmp", Interval: 10 * time.Second}
		set(t, s, a)
		for i := range 20 {
			time.Sleep(time.Duration(i) * 700 * time.Millisecond)
			set(t, s)
			set(t, s, a)
			set(t, s)
			a.Kind = []string{"snmp", "linux"}[i%2]
			set(t, s, a)
		}
		if err := s.PollNow(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if len(src.twice) > 0 {
			t.Errorf("polled twice at once %d times", len(src.twice))
		}
		if got := st.of("up", "a"); got[len(got)-1] != "1" {
			t.Errorf("up: %v", got)
		}
	})
}

func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(quick)
		var mu sync.Mutex
		live := map[string]int{}
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: st.append, Live: func(name string, in []Sample) {
			mu.Lock()
			defer mu.Unlock()
			live[name]++
		}})
		set(t, s, Target{Name: "a", Kind: "snmp", Interval: time.Minute}, Target{Name: "b", Kind: "snmp", Interval: time.Minute})
		time.Sleep(10 * time.Second)
		s.Burst([]string{"a", "later"})
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := live["a"]; n < 29 || n > 31 {
			t.Errorf("%d live polls of a in 30 s", n)
		}
		set(t, s, Target{Name: "a", Kind: "snmp", Interval: time.Minute}, Target{Name: "later", Kind: "snmp", Interval: time.Minute})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := live["later"]; n < 9 {
			t.Errorf("%d live polls of a target that came later", n)
		}
		s.Burst(nil)
		n := len(src.startsOf("a"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := len(src.startsOf("a")) - n; got != 10 {
			t.Errorf("%d polls in 10 minutes after the burst", got)
		}
		if live["b"] != 0 || status(s, "a").Debt != 0 {
			t.Errorf("b had %d live polls, a has debt %d", live["b"], status(s, "a").Debt)
		}
	})
}

func TestPollDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		src := newFake(func(context.Context, Target) (Result, error) {
			<-gate // deaf to its deadline
			return Result{}, nil
		})
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: st.append, FirstWithin: time.Nanosecond})
		set(t, s, Target{Name: "a", Kind: "snmp", Interval: 10 * time.Second})
		time.Sleep(time.Minute)
		got := status(s, "a")
		if got.Debt < 5 || got.Debt > 6 || !got.Running {
			t.Errorf("after a minute in one poll: debt %d, running %v", got.Debt, got.Running)
		}
		if !strings.Contains(got.Err, "still running") || !strings.Contains(got.Err, `poll a `) {
			t.Errorf("status of a stuck target: %q", got.Err)
		}
		if up := st.of("up", "a"); len(up) != 1 || up[0] != "0" {
			t.Errorf("up of a stuck target: %v", up)
		}
		close(gate)
		synctest.Wait()
		if up := st.of("up", "a"); len(up) != 2 || up[1] != "0" {
			t.Errorf("up after an answer beyond the deadline: %v", up)
		}
		time.Sleep(time.Minute)
		if up := st.of("up", "a"); up[len(up)-1] != "1" || len(src.startsOf("a")) > 9 {
			t.Errorf("after it came back: up %v, %d polls", up, len(src.startsOf("a")))
		}
	})
}

func TestSetNamesWrongTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(quick)
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: st.append})
		set(t, s, Target{Name: "kept", Kind: "snmp"})
		err := s.Set([]Target{
			{Name: "good", Kind: "snmp"},
			{Name: "kept", Kind: "snmp", Interval: time.Second, Timeout: 2 * time.Second},
			{Name: "odd", Kind: "carrier pigeon"},
			{Name: "good", Kind: "snmp", Address: "other"},
			{Name: "fast", Kind: "snmp", Interval: time.Millisecond},
			{Name: "a/b", Kind: "snmp"},
			{Address: "192.0.2.7", Kind: "snmp"},
		})
		for _, want := range []string{`"kept": timeout`, `"odd": kind "carrier pigeon"`, `"good" is there twice`, `"fast": interval`, `"a/b": name`, `192.0.2.7`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error does not say %s: %v", want, err)
			}
		}
		time.Sleep(2 * time.Minute)
		if got := s.Status(); len(got) != 2 || got[0].Name != "good" || got[1].Name != "kept" || got[1].Interval != time.Minute || got[1].Polls < 2 {
			t.Errorf("targets after a wrong set: %+v", got)
		}
	})
}

func TestFactsAreHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(func(_ context.Context, tg Target) (Result, error) {
			r := Result{Facts: []Fact{{Kind: "device", Key: tg.Name}}}
			if tg.Name == "half" {
				r.Partial = []error{errors.New("walk 1.3.6: timeout")}
			}
			return r, nil
		})
		var st store
		seen := map[string]bool{}
		s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: st.append,
			Observe: func(_ context.Context, tg Target, at time.Time, res Result) error {
				if len(res.Facts) != 1 || res.Facts[0].Key != tg.Name || at.IsZero() {
					t.Errorf("facts %v of %s", res.Facts, tg.Name)
				}
				seen[tg.Name] = len(res.Partial) > 0
				if tg.Name == "half" {
					return errors.New("inventory is closed")
				}
				return nil
			}})
		for _, name := range []string{"all", "half"} {
			set(t, s, Target{Name: name, Kind: "snmp"})
			err := s.PollNow(t.Context(), name)
			if (err != nil) != (name == "half") || seen[name] != (name == "half") {
				t.Errorf("%s: %v, partial %v", name, err, seen[name])
			}
		}
	})
}

// Run ends only when its polls have, and what they bring is not stored.
func TestRunEndsWithItsPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		src := newFake(func(ctx context.Context, _ Target) (Result, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return Result{}, nil
		})
		var st store
		s, err := New(Options{Sources: map[string]Source{"snmp": src}, Append: st.append, FirstWithin: time.Nanosecond})
		if err != nil {
			t.Fatal(err)
		}
		set(t, s, Target{Name: "a", Kind: "snmp"})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		waiting := make(chan error, 1)
		go func() {
			time.Sleep(time.Second)
			waiting <- s.PollNow(t.Context(), "a")
		}()
		if err := s.Run(ctx); err != nil || !ended {
			t.Errorf("Run: %v, poll has ended: %v", err, ended)
		}
		if err := <-waiting; !errors.Is(err, ErrStopped) {
			t.Errorf("who waits for a poll hears %v", err)
		}
		if err := s.PollNow(t.Context(), "a"); !errors.Is(err, ErrStopped) {
			t.Errorf("who asks afterwards hears %v", err)
		}
		if got := st.of("up", "a"); len(got) != 0 {
			t.Errorf("up after a stop is %v: nobody knows", got)
		}
	})
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	src := map[string]Source{"snmp": newFake(quick)}
	add := func(context.Context, []Sample) error { return nil }
	for _, o := range []Options{{}, {Sources: src}, {Append: add}, {Sources: map[string]Source{"x": nil}, Append: add}, {Sources: src, Append: add, MaxConcurrent: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) is well", o)
		}
	}
	if math.IsNaN(own(Target{Name: "a"}, "up", 1, 0).V) {
		t.Error("up is NaN")
	}
}

// TestStampsFollowTheClockBack keeps samples of one target apart while polls
// come close, and does not stamp them in the future once the clock is set back.
func TestStampsFollowTheClockBack(t *testing.T) {
	s, e := &Scheduler{}, &entry{}
	now := time.Unix(1_800_000_000, 0)
	for _, step := range []struct {
		at   time.Duration
		want time.Duration
	}{
		{0, 0}, {0, time.Millisecond}, {-30 * time.Second, 2 * time.Millisecond}, {time.Minute, time.Minute},
		{-3 * time.Hour, -3 * time.Hour}, {-3*time.Hour + time.Second, -3*time.Hour + time.Second}, {5 * time.Hour, 5 * time.Hour},
	} {
		if got, want := s.stamp(e, now.Add(step.at)), now.Add(step.want).UnixMilli(); got != want {
			t.Errorf("a poll at %v is stamped %v off, want %v", step.at, time.Duration(got-now.UnixMilli())*time.Millisecond, step.want)
		}
	}
}
