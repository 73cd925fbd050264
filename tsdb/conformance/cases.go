package conformance

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// killTwice kills a writer, lets a second one open the store and write on,
// kills that too, and asks for all that was acknowledged to either.
func killTwice(t *testing.T, s Subject, r *rand.Rand) (v Verdict) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kill")
	acked, first := 0, 0
	for round := range 2 {
		var err error
		first = acked
		if acked, err = writeUntilKilled(t, s, dir, acked, 500+10*r.IntN(100)); err != nil {
			v.Detail = fmt.Sprintf("round %d: %v", round+1, err)
			return v
		}
	}
	c := verify(t, s, dir, acked)
	v.Pass = c.Found == acked
	v.Detail = fmt.Sprintf("%d acknowledged, %d of them before the first kill; %d lost, %d wrong%s", acked, first, c.Lost, c.Wrong, because(c))
	return v
}

func because(c census) string {
	switch {
	case c.OpenError != "":
		return ", does not open: " + c.OpenError
	case c.ReadError != "":
		return ", does not read: " + c.ReadError
	}
	return ""
}

// flips is how many bytes are tried, each in a copy of its own.
const flips = 20

// flippedByte changes one byte of the newest log of a killed writer. The store
// must open, and may miss points but not give wrong ones.
func flippedByte(t *testing.T, s Subject, r *rand.Rand) (v Verdict) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "flip")
	acked, err := writeUntilKilled(t, s, dir, 0, 500)
	if err != nil {
		v.Detail = err.Error()
		return v
	}
	opened, wrong, lost, first := 0, 0, 0, ""
	for range flips {
		damaged := filepath.Join(t.TempDir(), "damaged")
		if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := flip(s, damaged, r); err != nil {
			t.Fatal(err)
		}
		c := verify(t, s, damaged, acked)
		if c.OpenError != "" {
			first = ", first error: " + c.OpenError
			continue
		}
		if c.ReadError != "" {
			first = ", first error: " + c.ReadError
		}
		opened++
		wrong += c.Wrong
		lost += c.Lost
	}
	v.Pass = opened == flips && wrong == 0
	v.Detail = fmt.Sprintf("opened %d of %d times; of %d points a time, then lost %.1f and got wrong %.1f on average%s",
		opened, flips, acked, float64(lost)/float64(max(opened, 1)), float64(wrong)/float64(max(opened, 1)), first)
	return v
}

// flip inverts the bits of one byte that is not zero, as padding is.
func flip(s Subject, dir string, r *rand.Rand) error {
	path, err := s.Log(dir)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var used []int
	for i, b := range data {
		if b != 0 {
			used = append(used, i)
		}
	}
	if len(used) == 0 {
		return fmt.Errorf("flip a byte of %s: it is empty", path)
	}
	data[used[r.IntN(len(used))]] ^= 0xff
	return os.WriteFile(path, data, 0o600)
}

const (
	writers = 8
	rounds  = 150
)

// firstInserts has goroutines append the first points of fresh series while
// others read those very series.
func firstInserts(t *testing.T, s Subject, _ *rand.Rand) (v Verdict) {
	t.Helper()
	store, err := s.Open(filepath.Join(t.TempDir(), "first"))
	if err != nil {
		v.Detail = err.Error()
		return v
	}
	lost, refused := 0, 0
	for round := range rounds {
		got, no := firstInsertRound(store, fmt.Sprint("fresh_", round))
		refused += no
		lost += writers - no - got
	}
	v.Pass = lost == 0 && refused == 0
	v.Detail = fmt.Sprintf("%d acknowledged, %d lost, %d refused", writers*rounds-refused, lost, refused)
	if err := store.Close(); err != nil {
		v.Pass, v.Detail = false, fmt.Sprintf("%s, close: %v", v.Detail, err)
	}
	return v
}

// firstInsertRound gives each writer a series of its own and a reader beside.
func firstInsertRound(store Store, prefix string) (found, refused int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range writers {
		series := fmt.Sprint(prefix, "_", i)
		var written atomic.Bool
		wg.Go(func() {
			defer written.Store(true)
			<-start
			if err := store.Append(series, base, float64(i)); err != nil {
				mu.Lock()
				refused++
				mu.Unlock()
			}
		})
		wg.Go(func() {
			<-start
			for !written.Load() {
				_, _ = store.Select(series, base, base+1000) // what it returns now is no matter
			}
		})
	}
	close(start)
	wg.Wait()
	for i := range writers {
		points, err := store.Select(fmt.Sprint(prefix, "_", i), base, base+1000)
		if err == nil && len(points) == 1 && points[0].V == float64(i) {
			found++
		}
	}
	return found, refused
}

const (
	coldSeries = 200
	coldPoints = 360
	// coldLimit is a thousand times what a store with an index needs.
	coldLimit = 20 * time.Second
)

// coldRead reads everything back right after opening.
func coldRead(t *testing.T, s Subject, _ *rand.Rand) (v Verdict) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cold")
	if err := fillCold(s, dir); err != nil {
		v.Detail = err.Error()
		return v
	}
	store, err := s.Open(dir)
	if err != nil {
		v.Detail = err.Error()
		return v
	}
	defer store.Close()
	start, missing := time.Now(), 0
	for i := range coldSeries {
		points, err := store.Select(fmt.Sprint("cold_", i), base, base+coldPoints*10_000)
		if err != nil {
			points = nil
		}
		good := 0
		for _, p := range points {
			if p.V == float64((p.T-base)/10_000+int64(i)) {
				good++
			}
		}
		missing += coldPoints - good
	}
	took := time.Since(start)
	v.Pass = missing == 0 && took < coldLimit
	v.Detail = fmt.Sprintf("%d series of %d points in %s, %d points missing", coldSeries, coldPoints, took.Round(time.Millisecond/10), missing)
	return v
}

func fillCold(s Subject, dir string) error {
	store, err := s.Open(dir)
	if err != nil {
		return err
	}
	for n := range int64(coldPoints) {
		for i := range int64(coldSeries) {
			if err := store.Append(fmt.Sprint("cold_", i), base+n*10_000, float64(n+i)); err != nil {
				return err
			}
		}
	}
	if err := store.Sync(); err != nil {
		return err
	}
	return store.Close()
}
