package conformance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// staleNaN is the NaN by which Prometheus marks the end of a series.
const staleNaN = 0x7ff0000000000002

var oddValues = []float64{
	0, math.Copysign(0, -1), 1, -1, math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(staleNaN), math.Float64frombits(0x7ff8000000000001),
	math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-300, 0.1, 1.0 / 3, 1 << 53, math.Pi,
}

// with opens a store in a fresh folder, hands it to f, and closes it. What f
// returns is the verdict's detail, and the fault if any.
func with(t *testing.T, s Subject, f func(dir string, store Store) (string, error)) Verdict {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	store, err := s.Open(dir)
	if err != nil {
		return Verdict{Detail: "does not open: " + err.Error()}
	}
	detail, err := f(dir, store)
	if cerr := store.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close: %w", cerr)
	}
	if err != nil {
		return Verdict{Detail: err.Error()}
	}
	return Verdict{Pass: true, Detail: detail}
}

// same holds what Select gives against what was written, by bits.
func same(store Store, series string, from, to int64, want []Point) error {
	got, err := store.Select(series, from, to)
	if err != nil {
		return fmt.Errorf("select %s: %w", series, err)
	}
	if len(got) != len(want) {
		return fmt.Errorf("select %s from %d to %d: %d points, want %d", series, from-base, to-base, len(got), len(want))
	}
	for i := range want {
		if got[i].T != want[i].T || math.Float64bits(got[i].V) != math.Float64bits(want[i].V) {
			return fmt.Errorf("select %s: point %d is %g (%x) at %d, want %g (%x) at %d", series, i,
				got[i].V, math.Float64bits(got[i].V), got[i].T-base, want[i].V, math.Float64bits(want[i].V), want[i].T-base)
		}
	}
	return nil
}

func appendAll(store Store, series string, points []Point) error {
	for _, p := range points {
		if err := store.Append(series, p.T, p.V); err != nil {
			return fmt.Errorf("append to %s: %w", series, err)
		}
	}
	return nil
}

// readBack appends at random to some series and reads random ranges between.
func readBack(t *testing.T, s Subject, r *rand.Rand) Verdict {
	t.Helper()
	return with(t, s, func(_ string, store Store) (string, error) {
		model := map[string][]Point{}
		now, reads := int64(base), 0
		for range 3000 {
			now += int64(1 + r.IntN(500))
			name := fmt.Sprint("model_", r.IntN(8))
			p := Point{now, r.NormFloat64() * 1e6}
			if err := appendAll(store, name, []Point{p}); err != nil {
				return "", err
			}
			model[name] = append(model[name], p)
			if r.IntN(20) > 0 {
				continue
			}
			reads++
			from := base + r.Int64N(now-base+1)
			to := from + r.Int64N(now-from+1000)
			var want []Point
			for _, p := range model[name] {
				if p.T >= from && p.T <= to {
					want = append(want, p)
				}
			}
			if err := same(store, name, from, to, want); err != nil {
				return "", err
			}
		}
		if err := same(store, "never_written", base, now, nil); err != nil {
			return "", err
		}
		return fmt.Sprintf("3000 points in 8 series, %d random ranges", reads), nil
	})
}

// specialValues reads odd values before and after reopening.
func specialValues(t *testing.T, s Subject, _ *rand.Rand) Verdict {
	t.Helper()
	var points []Point
	for i, v := range append(slices.Clone(oddValues), oddValues...) {
		points = append(points, Point{base + int64(i)*step, v})
	}
	last := points[len(points)-1].T
	var dir string
	v := with(t, s, func(d string, store Store) (string, error) {
		dir = d
		if err := appendAll(store, "odd", points); err != nil {
			return "", err
		}
		if err := same(store, "odd", base, last, points); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d values, before and after reopening", len(oddValues)), store.Sync()
	})
	if !v.Pass {
		return v
	}
	store, err := s.Open(dir)
	if err == nil {
		defer store.Close()
		err = same(store, "odd", base, last, points)
	}
	if err != nil {
		return Verdict{Detail: "after reopening: " + err.Error()}
	}
	return v
}

// inclusiveBounds asks for ranges that begin and end at points, beside them,
// and as far as times go.
func inclusiveBounds(t *testing.T, s Subject, _ *rand.Rand) Verdict {
	t.Helper()
	return with(t, s, func(_ string, store Store) (string, error) {
		points := []Point{{base, 1}, {base + 1, 2}, {base + 1000, 3}}
		if err := appendAll(store, "b", points); err != nil {
			return "", err
		}
		first, last := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		for _, c := range []struct {
			from, to int64
			want     []Point
		}{
			{base, base, points[:1]},
			{base + 1, base + 1, points[1:2]},
			{base, base + 1000, points},
			{base + 1, base + 999, points[1:2]},
			{base + 2, base + 999, nil},
			{base - 1000, base - 1, nil},
			{base + 1001, base + 2000, nil},
			{0, last, points},
			{first, last, points},
		} {
			if err := same(store, "b", c.from, c.to, c.want); err != nil {
				return "", err
			}
		}
		return "9 ranges, the largest from year 1 to 9999", nil
	})
}

// duplicates appends points twice, with the same value and another.
func duplicates(t *testing.T, s Subject, _ *rand.Rand) Verdict {
	t.Helper()
	return with(t, s, func(_ string, store Store) (string, error) {
		refused, replaced := 0, false
		for i := range int64(10) {
			if err := store.Append("d", base+i, 1); err != nil {
				return "", err
			}
			for _, v := range []float64{1, 2} {
				if store.Append("d", base+i, v) != nil {
					refused++
				}
			}
		}
		got, err := store.Select("d", base, base+10)
		if err != nil {
			return "", err
		}
		if len(got) != 10 {
			return "", fmt.Errorf("10 times were written three times each, %d points are read", len(got))
		}
		for i, p := range got {
			if p.T != base+int64(i) || p.V != 1 && p.V != 2 {
				return "", fmt.Errorf("point %d is %v", i, p)
			}
			replaced = replaced || p.V == 2
		}
		return fmt.Sprintf("%d of 20 refused, the later value replaces: %v", refused, replaced), nil
	})
}

// latePoints appends out of order. What is accepted must be read, in order.
func latePoints(t *testing.T, s Subject, r *rand.Rand) Verdict {
	t.Helper()
	window := max(s.Claims.Late, time.Minute).Milliseconds() * 9 / 10
	return with(t, s, func(_ string, store Store) (string, error) {
		now := int64(base + 2*window)
		kept := map[int64]float64{now: 0}
		if err := store.Append("late", now, 0); err != nil {
			return "", err
		}
		refused := 0
		for i := range 500 {
			at := now - r.Int64N(window)
			if r.IntN(4) == 0 {
				now += int64(1 + r.IntN(5000))
				at = now
			}
			if _, twice := kept[at]; twice {
				continue
			}
			err := store.Append("late", at, float64(i))
			switch {
			case err == nil:
				kept[at] = float64(i)
			case s.Claims.Late > 0 || at == now:
				return "", fmt.Errorf("a point %s late was refused: %w", time.Duration(now-at)*time.Millisecond, err)
			default:
				refused++
			}
		}
		var want []Point
		for at, v := range kept {
			want = append(want, Point{at, v})
		}
		slices.SortFunc(want, func(a, b Point) int { return int(a.T - b.T) })
		return fmt.Sprintf("%d kept, %d refused", len(kept), refused), same(store, "late", 0, now, want)
	})
}

// reopening closes and opens the store again and again, writing on each time.
func reopening(t *testing.T, s Subject, r *rand.Rand) Verdict {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "reopen")
	var written []Point
	const rounds = 5
	for round := range rounds {
		store, err := s.Open(dir)
		if err != nil {
			return Verdict{Detail: fmt.Sprintf("round %d: does not open: %v", round, err)}
		}
		err = same(store, "r", base, base+1e9, written)
		for range r.IntN(200) {
			p := Point{base + int64(len(written))*step, r.Float64()}
			written = append(written, p)
			if err == nil {
				err = store.Append("r", p.T, p.V)
			}
		}
		if err == nil {
			err = store.Sync()
		}
		if cerr := store.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return Verdict{Detail: fmt.Sprintf("round %d: %v", round, err)}
		}
	}
	return Verdict{Pass: true, Detail: fmt.Sprintf("%d times, %d points", rounds, len(written))}
}
