package live

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
)

func window(t testing.TB, o Options) *Window {
	t.Helper()
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func point(instance, name string, at time.Time, v float64) Point {
	return Point{labels.FromStrings("__name__", name, "instance", instance), at.UnixMilli(), v}
}

func put(t testing.TB, w *Window, key string, p ...Point) {
	t.Helper()
	if err := w.Append(key, p); err != nil {
		t.Fatal(err)
	}
}

func sel(t testing.TB, w *Window, from, to time.Time, match ...string) []Series {
	t.Helper()
	s, err := w.Select(labels.FromStrings(match...), from, to)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWindowAgainstModel appends at random for 40 minutes, many targets with
// clocks a little apart, and compares every read with a plain list.
func TestWindowAgainstModel(t *testing.T) {
	_, r := need.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		w := window(t, Options{})
		go func() { _ = w.Run(t.Context()) }() // which ends with the bubble
		model := map[string][]XY{}
		for range 40 * 60 {
			time.Sleep(time.Second) // the bubble's clock
			for i := range 3 {
				if r.IntN(10) == 0 {
					continue
				}
				instance := fmt.Sprint("leaf", i)
				at := time.Now().Add(-time.Duration(r.IntN(900)) * time.Millisecond)
				p := point(instance, "up", at, r.Float64())
				put(t, w, "device/"+instance, p)
				if old := model[instance]; len(old) == 0 || old[len(old)-1].T < p.T {
					model[instance] = append(old, XY{p.T, p.V})
				}
			}
			if r.IntN(60) == 0 {
				compareModel(t, w, model, r)
			}
		}
		w.mu.Lock()
		for key, rec := range w.keys {
			if n := len(rec.data.row); n > generationsKept {
				t.Errorf("%s holds %d storages", key, n)
			}
		}
		w.mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.keys); n != 0 || w.series != 0 || w.points != 0 {
			t.Errorf("an hour later %d keys, %d series and %d points are held", n, w.series, w.points)
		}
	})
}

func compareModel(t *testing.T, w *Window, model map[string][]XY, r *rand.Rand) {
	t.Helper()
	now := time.Now()
	from := now.Add(-time.Duration(r.IntN(20*60)) * time.Second)
	to := from.Add(time.Duration(r.IntN(20*60)) * time.Second)
	oldest := max(from.UnixMilli(), now.Add(-15*time.Minute).UnixMilli())
	var want []Series
	for i := range 3 {
		instance := fmt.Sprint("leaf", i)
		var points []XY
		for _, p := range model[instance] {
			if p.T >= oldest && p.T <= to.UnixMilli() {
				points = append(points, p)
			}
		}
		if len(points) > 0 {
			want = append(want, Series{point(instance, "up", now, 0).Labels, points})
		}
	}
	got := sel(t, w, from, to, "__name__", "up")
	if !slices.EqualFunc(want, got, func(a, b Series) bool {
		return labels.Equal(a.Labels, b.Labels) && slices.Equal(a.Points, b.Points)
	}) {
		t.Fatalf("Select(%v, %v): %s", from, to, cmp.Diff(lengths(want), lengths(got)))
	}
}

func lengths(list []Series) []string {
	var s []string
	for _, x := range list {
		s = append(s, fmt.Sprint(x.Labels, len(x.Points), x.Points[0], x.Points[len(x.Points)-1]))
	}
	return s
}

func TestSelectCopiesAndMatchesSubsets(t *testing.T) {
	w, now := window(t, Options{}), time.Now()
	put(t, w, "a", point("a", "up", now, 1), point("a", "load", now, 2))
	put(t, w, "b", point("b", "up", now, 3))
	put(t, w, "a", point("a", "up", now, 9), point("a", "up", now.Add(-time.Second), 9)) // not newer
	got := sel(t, w, now, now, "instance", "a")
	if len(got) != 2 || got[1].Points[0] != (XY{now.UnixMilli(), 1}) {
		t.Fatalf("got %v", got)
	}
	got[1].Points[0].V = 7
	if again := sel(t, w, now, now, "instance", "a"); again[1].Points[0].V != 1 {
		t.Error("Select returns live memory")
	}
	if got := sel(t, w, now.Add(time.Second), now.Add(time.Minute)); len(got) != 0 {
		t.Errorf("the future holds %v", got)
	}
	put(t, w, "d", point("d", "up", now, 1), point("d", "up", now.Add(time.Millisecond), 2))
	if got := sel(t, w, now, now, "instance", "d"); len(got) != 1 || len(got[0].Points) != 1 {
		t.Errorf("a range that ends just before the newest point has %v", got)
	}
	put(t, w, "c", point("a", "up", now, 1)) // the same series by another key
	if got := sel(t, w, now, now, "__name__", "up"); len(got) != 3 {
		t.Errorf("%d series, want 3", len(got))
	}
}

func TestLeastRecentlyWatchedGoesFirst(t *testing.T) {
	w, now := window(t, Options{MaxSeries: 3}), time.Now()
	fill := func(key string, at time.Time) { t.Helper(); put(t, w, key, point(key, "up", at, 1)) }
	has := func(key string) bool {
		t.Helper()
		return len(sel(t, w, now, now.Add(time.Minute), "instance", key)) > 0
	}
	watch := func(key string) func() { _, release := w.Watch(key); return release }
	release := watch("first")
	defer watch("second")()
	for _, k := range []string{"unwatched", "first", "second"} {
		fill(k, now)
	}
	defer watch("third")()
	fill("third", now)
	if has("unwatched") || !has("first") || !has("third") {
		t.Fatal("a key that nobody watches was not the first to go")
	}
	defer watch("fourth")()
	fill("fourth", now)
	if has("first") || !has("second") {
		t.Fatal("the key watched least recently was not the next to go")
	}
	fill("first", now.Add(time.Second))
	if has("first") || !has("second") {
		t.Fatal("an older watch evicted a newer one")
	}
	if diff := cmp.Diff([]string{"first", "fourth", "second", "third"}, w.Watched()); diff != "" {
		t.Error(diff)
	}
	release()
	release()
	if diff := cmp.Diff([]string{"fourth", "second", "third"}, w.Watched()); diff != "" {
		t.Error(diff)
	}
}

// TestWatchersAreTold has one watcher keep up and one not.
func TestWatchersAreTold(t *testing.T) {
	w, now := window(t, Options{MaxSeries: 2}), time.Now()
	slow, leave := w.Watch("a")
	quick, leaveToo := w.Watch("a")
	other, leaveOther := w.Watch("b")
	at := func(i int) int64 { return now.Add(time.Duration(i) * time.Second).UnixMilli() }
	for i := range 40 {
		put(t, w, "a", Point{labels.FromStrings("n", "1"), at(i), 0}, Point{labels.FromStrings("n", "2"), at(i) - 500, 0})
		if got := <-quick; got != at(i) {
			t.Fatalf("a watcher that keeps up is told of %d, want %d", got, at(i))
		}
	}
	put(t, w, "a", Point{labels.FromStrings("n", "2"), at(39) - 200, 0}) // new, older than what is told already
	if got := <-quick; got != at(39)-200 {
		t.Errorf("told of %d, want %d", got, at(39)-200)
	}
	if got := <-slow; got != at(39) {
		t.Errorf("a watcher that took nothing is told of %d, want the newest, %d", got, at(39))
	}
	if got := sel(t, w, now, now.Add(time.Minute)); len(got) != 2 || len(got[0].Points) != 40 {
		t.Errorf("what it was not told of is not in the window: %v", got)
	}
	put(t, w, "a", Point{labels.FromStrings("n", "1"), at(5), 0})  // late
	put(t, w, "a", Point{labels.FromStrings("n", "3"), at(50), 0}) // without room
	for _, ch := range []<-chan int64{slow, quick, other} {
		select {
		case got := <-ch:
			t.Errorf("told of %d, and nothing was kept", got)
		default:
		}
	}
	leave()
	leave()
	put(t, w, "a", Point{labels.FromStrings("n", "1"), at(60), 0})
	if _, open := <-slow; open {
		t.Error("a watcher that left is told on")
	}
	if got := <-quick; got != at(60) {
		t.Errorf("told of %d after another left, want %d", got, at(60))
	}
	leaveToo()
	leaveOther()
	if s := w.Stats(); s.Watched != 0 || s.Keys != 1 || s.Reads != 1 {
		t.Errorf("%+v", s)
	}
}

// TestMemoryCapEvictsLeastRecentlyWatched fills a window of one MB by keys
// that are watched one after the other.
func TestMemoryCapEvictsLeastRecentlyWatched(t *testing.T) {
	const maxBytes = 1 << 20
	w, start := window(t, Options{MaxBytes: maxBytes}), time.Now().Add(-14*time.Minute)
	before := heap()
	for i := range 10 { // each takes about a quarter of it
		key := fmt.Sprint("key", i)
		if i%2 == 0 {
			_, release := w.Watch(key)
			defer release()
		}
		for at := range 800 {
			var points []Point
			for s := range 16 {
				points = append(points, point(key, fmt.Sprint("m", s), start.Add(time.Duration(at)*time.Second), 1))
			}
			put(t, w, key, points...)
			if s := w.Stats(); s.Bytes > maxBytes {
				t.Fatalf("%+v", s)
			}
		}
	}
	var left []string
	for i := range 10 {
		if key := fmt.Sprint("key", i); len(sel(t, w, start, time.Now(), "instance", key)) > 0 {
			left = append(left, key)
		}
	}
	// Unwatched ones went first; then the watched ones, the oldest watch first.
	if len(left) < 2 || slices.ContainsFunc(left, func(k string) bool { return k != "key9" && k != "key8" && k != "key6" && k != "key4" }) {
		t.Errorf("left are %v", left)
	}
	used := heap() - before
	t.Logf("%+v, heap %.1f MB", w.Stats(), float64(used)/1e6)
	if used > 3*maxBytes/2 {
		t.Errorf("%.1f MB of heap for a bound of %.1f", float64(used)/1e6, maxBytes/1e6)
	}
	// One key alone that is too big keeps its newest.
	alone := window(t, Options{MaxBytes: 96 << 10})
	for at := range 14 * 60 {
		for s := range 4 {
			put(t, alone, "a", point("a", fmt.Sprint("m", s), start.Add(time.Duration(at)*time.Second), 1))
		}
	}
	if s := alone.Stats(); s.Bytes > 96<<10 || s.Points == 0 {
		t.Errorf("%+v", s)
	}
	runtime.KeepAlive(w)
}

func TestConcurrentFirstInserts(t *testing.T) {
	w, now := window(t, Options{MaxSeries: 1000}), time.Now()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				put(t, w, fmt.Sprint("key", j%5), point(fmt.Sprint(i, "-", j), "up", now, 1))
				sel(t, w, now, now)
			}
		})
	}
	wg.Wait()
	if got := sel(t, w, now, now); len(got) != 400 {
		t.Errorf("%d of 400 first inserts are seen", len(got))
	}
}

// fill puts 500 series of 1 s points into a window, for as long as given.
func fill(t testing.TB, w *Window, span time.Duration) {
	start := time.Now().Add(-span)
	names := make([]labels.Labels, 500)
	for i := range names {
		names[i] = labels.FromStrings("__name__", "ifHCInOctets", "instance", fmt.Sprint("leaf", i%40), "ifName", fmt.Sprint("Ethernet", i))
	}
	for at := start; at.Before(start.Add(span)); at = at.Add(time.Second) {
		for key := range 50 {
			points := make([]Point, 10)
			for i := range points {
				points[i] = Point{names[key*10+i], at.UnixMilli(), float64(i*at.Nanosecond()) + float64(at.Unix()*int64(key+1))}
			}
			put(t, w, fmt.Sprint("device/", key), points...)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemoryIsBounded holds 500 series at 1 s to less than 30 MB, after 15
// minutes as after an hour.
func TestMemoryIsBounded(t *testing.T) {
	for _, span := range []time.Duration{15 * time.Minute, time.Hour} {
		w := window(t, Options{})
		before := heap()
		fill(t, w, span)
		used := float64(heap()-before) / 1e6
		got := sel(t, w, time.Now().Add(-14*time.Minute), time.Now())
		said := float64(w.Stats().Bytes) / 1e6
		t.Logf("500 series for %s: %.1f MB, reckoned %.1f MB", span, used, said)
		if said < 0.75*used || said > 1.5*used {
			t.Errorf("%.1f MB are reckoned to be %.1f MB", used, said)
		}
		if used > 30 {
			t.Errorf("500 series for %s take %.1f MB, want under 30", span, used)
		}
		if len(got) != 500 || len(got[0].Points) < 13*60 {
			t.Errorf("%d series with %d points", len(got), len(got[0].Points))
		}
		runtime.KeepAlive(w)
	}
}

func BenchmarkSelect500(b *testing.B) {
	w := window(b, Options{})
	fill(b, w, 15*time.Minute)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if got := sel(b, w, now.Add(-15*time.Minute), now); len(got) != 500 {
			b.Fatal(len(got))
		}
	}
}
