package web

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/inventory"
	"nocturne/internal/need"
	"nocturne/tsdb/live"
)

// quietHost is a host whose target nobody polls: its points come from the test.
type quietHost struct {
	*rig
	start time.Time // of its points, a whole second some minutes ago
}

// newQuietHost has a load of 0, 1, ... 9 in its first ten seconds.
func newQuietHost(t *testing.T) *quietHost {
	t.Helper()
	q := &quietHost{newRig(t), time.Now().Truncate(time.Second).Add(-10 * time.Minute)}
	err := q.Graph.Observe(t.Context(), inventory.Observation{Source: "linux", Target: "quiet", At: time.Now(), Facts: []inventory.Fact{
		{Kind: "host", Key: "quiet", Name: "quiet", Binding: map[string]string{"job": "linux", "instance": "quiet"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		q.put(i)
	}
	return q
}

func (q *quietHost) put(second int) {
	q.t.Helper()
	err := q.Live.Append("quiet", []live.Point{{
		Labels: labels.FromStrings("__name__", "node_load1", "job", "linux", "instance", "quiet"),
		T:      q.start.Add(time.Duration(second) * time.Second).UnixMilli(), V: float64(second),
	}})
	if err != nil {
		q.t.Fatal(err)
	}
}

// seconds are the points of a message, which is one of the load's panel; the
// value of each is its second.
func (q *quietHost) seconds(m message) []int {
	q.t.Helper()
	var out []int
	for _, s := range m.data["series"].([]any) {
		for _, p := range s.(map[string]any)["pts"].([]any) {
			at, v := p.([]any)[0].(float64), p.([]any)[1].(float64)
			if m.data["panel"] != "load" || at-seconds(q.start) != v {
				q.t.Errorf("%v at second %v of panel %v", v, at-seconds(q.start), m.data["panel"])
			}
			out = append(out, int(v))
		}
	}
	return out
}

func count(from, to int) []int {
	var out []int
	for ; from <= to; from++ {
		out = append(out, from)
	}
	return out
}

// silence listens for more than five seconds, in which no points may come and
// nobody may read the window.
func (l *listener) silence(why string) {
	l.r.t.Helper()
	reads := l.r.Live.Stats().Reads
	for beats := 0; beats < 2; {
		switch m := l.next("heartbeat", func(message) bool { return true }); m.name {
		case "hb":
			beats++
		case "points":
			l.r.t.Errorf("%s: points came: %v", why, m.data)
		}
	}
	if n := l.r.Live.Stats().Reads - reads; n > 0 {
		l.r.t.Errorf("%s: the window was read %d times", why, n)
	}
}

// TestPointsComeByNews has an hour between two drawings of a feed, so that what
// it draws it was told of. Without news it draws nothing, nor within its pace.
func TestPointsComeByNews(t *testing.T) {
	t.Parallel()
	q := newQuietHost(t)
	q.hub.mu.Lock()
	q.hub.pace = time.Hour
	q.hub.mu.Unlock()
	l := q.listen("chart:host/quiet")
	l.named("snap")
	if watched := q.Live.Watched(); !slices.Equal(watched, []string{"quiet"}) {
		t.Fatalf("watched are %v", watched)
	}
	l.silence("no news")
	start := time.Now()
	q.put(10)
	// The first five seconds of a run are left out.
	if diff := cmp.Diff(count(5, 10), q.seconds(l.named("points"))); diff != "" {
		t.Error(diff)
	}
	t.Logf("a point was on the stream %s after it was appended", time.Since(start))
	q.put(11)
	l.silence("news within the pace")
}

// TestSlowFeedCatchesUp holds a feed up while four minutes of points come: it
// is told of the last of them only, and draws all of them, each once.
func TestSlowFeedCatchesUp(t *testing.T) {
	t.Parallel()
	const last = 250
	q := newQuietHost(t)
	l := q.listen("chart:host/quiet")
	l.named("snap")
	q.put(10)
	got := q.seconds(l.named("points"))
	q.hub.drawing.Lock()
	for i := 11; i <= last; i++ {
		q.put(i)
	}
	q.hub.drawing.Unlock()
	for got[len(got)-1] < last {
		got = append(got, q.seconds(l.named("points"))...)
	}
	if diff := cmp.Diff(count(5, last), got); diff != "" {
		t.Error(diff)
	}
	l.hang()
	need.Until(t, "nothing is watched", func() bool { return len(q.Live.Watched()) == 0 })
}
