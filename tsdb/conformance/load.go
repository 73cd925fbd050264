package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// manySeries writes and reads a few points of many series.
func manySeries(t *testing.T, s Subject, _ *rand.Rand) Verdict {
	t.Helper()
	const series, points = 5000, 3
	return with(t, s, func(_ string, store Store) (string, error) {
		for n := range int64(points) {
			for i := range series {
				if err := store.Append(fmt.Sprint("many_", i), base+n*step, float64(i)+float64(n)/4); err != nil {
					return "", err
				}
			}
		}
		start := time.Now()
		for i := range series {
			var want []Point
			for n := range int64(points) {
				want = append(want, Point{base + n*step, float64(i) + float64(n)/4})
			}
			if err := same(store, fmt.Sprint("many_", i), base, base+points*step, want); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("%d series of %d points, read in %s", series, points, time.Since(start).Round(time.Millisecond)), nil
	})
}

// readers check, until stop is closed, that what they see of each series is
// the first points of what is written to it, and never less than before.
func readers(store Store, series []string, value func(i int64) float64, gap int64, stop <-chan struct{}) (reads int64, err error) {
	var wg sync.WaitGroup
	var n atomic.Int64
	faults := make(chan error, len(series))
	for _, name := range series {
		wg.Go(func() {
			pace := time.NewTicker(time.Millisecond) // the writers need the processor too
			defer pace.Stop()
			seen := 0
			for {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				got, err := store.Select(name, base, base+1e12)
				if err == nil && len(got) < seen {
					err = fmt.Errorf("%s had %d points and then %d", name, seen, len(got))
				}
				for i, p := range got {
					if err == nil && (p.T != base+int64(i)*gap || p.V != value(int64(i))) {
						err = fmt.Errorf("%s: point %d is %v, which is not what was written there", name, i, p)
					}
				}
				if err != nil {
					faults <- err
					return
				}
				seen = len(got)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	close(faults)
	for err := range faults {
		return n.Load(), err
	}
	return n.Load(), nil
}

// underLoad writes points with gap between them to four series at once while
// others read them, and returns how many reads there were.
func underLoad(store Store, points int, gap int64) (int64, error) {
	names := []string{"load_0", "load_1", "load_2", "load_3"}
	value := func(i int64) float64 { return float64(i)*1.5 + 0.25 }
	stop, done := make(chan struct{}), make(chan struct{})
	var reads int64
	var rerr error
	go func() { defer close(done); reads, rerr = readers(store, names, value, gap, stop) }()
	errs := make([]error, len(names))
	for i := range int64(points) {
		var wg sync.WaitGroup // in step, or one would be late
		for w, name := range names {
			wg.Go(func() {
				if err := store.Append(name, base+i*gap, value(i)); err != nil {
					errs[w] = fmt.Errorf("append point %d to %s: %w", i, name, err)
				}
			})
		}
		if wg.Wait(); errors.Join(errs...) != nil {
			break
		}
	}
	close(stop)
	<-done
	if err := errors.Join(append(errs, rerr)...); err != nil {
		return reads, err
	}
	for _, name := range names {
		got, err := store.Select(name, base, base+1e12)
		if err != nil || len(got) != points {
			return reads, fmt.Errorf("%s has %d of %d points: %w", name, len(got), points, errors.Join(err))
		}
	}
	return reads, nil
}

// readsWhileWriting reads series while they are written.
func readsWhileWriting(t *testing.T, s Subject, _ *rand.Rand) Verdict {
	t.Helper()
	return with(t, s, func(_ string, store Store) (string, error) {
		reads, err := underLoad(store, 1500, 100)
		return fmt.Sprintf("4 writers of 1500 points, %d reads between", reads), err
	})
}

// rollover is the same over several blocks, and again after reopening.
func rollover(t *testing.T, s Subject, _ *rand.Rand) Verdict {
	t.Helper()
	if s.Claims.Block == 0 {
		return Verdict{Skip: true, Detail: "no block span is claimed"}
	}
	const points = 1500
	gap := 5 * s.Claims.Block.Milliseconds() / points
	var dir string
	v := with(t, s, func(d string, store Store) (string, error) {
		dir = d
		reads, err := underLoad(store, points, gap)
		if err == nil {
			err = store.Sync()
		}
		return fmt.Sprintf("4 writers over 5 blocks, %d reads between, then reopened", reads), err
	})
	if !v.Pass {
		return v
	}
	store, err := s.Open(dir)
	if err != nil {
		return Verdict{Detail: "does not open again: " + err.Error()}
	}
	defer store.Close()
	if got, err := store.Select("load_1", base, base+1e12); err != nil || len(got) != points {
		return Verdict{Detail: fmt.Sprintf("reopened, it has %d of %d points, %v", len(got), points, err)}
	}
	return v
}

// deletion deletes the middle of a series and leaves the other one alone.
func deletion(t *testing.T, s Subject, _ *rand.Rand) Verdict {
	t.Helper()
	if !s.Claims.Delete {
		return Verdict{Skip: true, Detail: "not claimed"}
	}
	var dir string
	var all []Point
	for i := range int64(100) {
		all = append(all, Point{base + i*step, float64(i)})
	}
	left := append(append([]Point{}, all[:30]...), all[71:]...)
	check := func(store Store) error {
		return errors.Join(same(store, "del", base, base+1e9, left), same(store, "stay", base, base+1e9, all))
	}
	v := with(t, s, func(d string, store Store) (string, error) {
		dir = d
		deleter, ok := store.(Deleter)
		if !ok {
			return "", errors.New("the store is no Deleter")
		}
		err := errors.Join(appendAll(store, "del", all), appendAll(store, "stay", all))
		if err == nil {
			err = deleter.Delete("del", base+30*step, base+70*step)
		}
		return "41 of 100 points, before and after reopening", errors.Join(err, check(store), store.Sync())
	})
	if !v.Pass {
		return v
	}
	store, err := s.Open(dir)
	if err != nil {
		return Verdict{Detail: "does not open again: " + err.Error()}
	}
	defer store.Close()
	if err := check(store); err != nil {
		return Verdict{Detail: "after reopening: " + err.Error()}
	}
	return v
}

// retention writes over three times the retention.
func retention(t *testing.T, s Subject, _ *rand.Rand) Verdict {
	t.Helper()
	if s.Claims.Retention == 0 || s.Claims.Block == 0 {
		return Verdict{Skip: true, Detail: "not claimed"}
	}
	keep, block := s.Claims.Retention.Milliseconds(), s.Claims.Block.Milliseconds()
	gap := block / 20
	return with(t, s, func(_ string, store Store) (string, error) {
		end := base + 3*keep + 5*block
		for at := int64(base); at <= end; at += gap {
			if err := store.Append("old", at, float64(at)); err != nil {
				return "", err
			}
		}
		if settler, ok := store.(Settler); ok {
			if err := settler.Settle(); err != nil {
				return "", err
			}
		}
		got, err := store.Select("old", base, end)
		if err != nil || len(got) == 0 {
			return "", fmt.Errorf("%d points are left: %w", len(got), errors.Join(err))
		}
		switch first := got[0].T; {
		case first > end-keep:
			return "", fmt.Errorf("points are gone that are only %s old", time.Duration(end-first)*time.Millisecond)
		case first < end-keep-4*block:
			return "", fmt.Errorf("points are left that are %s old", time.Duration(end-first)*time.Millisecond)
		default:
			return fmt.Sprintf("of %s %s are kept", time.Duration(end-base)*time.Millisecond, time.Duration(end-first)*time.Millisecond), nil
		}
	})
}
