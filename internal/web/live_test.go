package web

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/automation"
	"nocturne/internal/secret"
)

// TestStreamTellsWhatChanges reads one stream over a failing service: a snap
// first, deltas without a gap in seq that lead to what the engine says, the
// alert, and heartbeats all along.
func TestStreamTellsWhatChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	r.until("the host is ok", func() bool { return r.Alerts.Status("host/web-1").State == "ok" })
	l := r.listen("status,alerts")
	snap := <-l.events
	if snap.name != "snap" || l.retry != "2000" || snap.data["build"] != "test" {
		t.Fatalf("first event %v, retry %q", snap, l.retry)
	}
	states := snap.data["items"].(map[string]any)
	for _, id := range []string{"device/leaf1", "interface/leaf1/Ethernet1", "host/web-1"} {
		if states[id] == nil {
			t.Errorf("the snap lacks %s", id)
		}
	}
	for _, key := range []string{"tally", "asOf", "t"} {
		if snap.data[key] == nil {
			t.Errorf("the snap lacks %s", key)
		}
	}
	r.world.failed.Store(true)
	seq, beats, told := snap.data["seq"].(float64), 0, false
	l.next("a critical host, its alert and a heartbeat", func(m message) bool {
		switch m.name {
		case "delta":
			if m.data["seq"].(float64) != seq+1 {
				t.Errorf("delta %v after %v", m.data["seq"], seq)
			}
			seq++
			for _, c := range m.data["ch"].([]any) {
				states[c.([]any)[0].(string)] = c.([]any)[1]
			}
		case "hb":
			beats++
		case "frag":
			told = told || m.data["count"].(float64) == 1
		case "snap", "resync":
			t.Errorf("a second %s", m.name)
		}
		return beats > 0 && told && states["host/web-1"] == "critical"
	})
}

// TestStreamBeatsInSilence shows that a stream without changes speaks every
// five seconds and says how old each target's data are.
func TestStreamBeatsInSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	l := r.listen("")
	l.named("snap")
	start := time.Now()
	for range 2 {
		if hb := l.named("hb"); hb.data["asOf"].(map[string]any)["leaf1"] == nil {
			t.Errorf("heartbeat %v", hb)
		}
	}
	if took := time.Since(start); took > 11*time.Second {
		t.Errorf("two heartbeats took %s", took)
	}
}

// TestStuckStreamIsGivenUp pushes into a hub with one client that takes
// nothing and one that takes all.
func TestStuckStreamIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stuck, err := r.hub.join(topics{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.hub.leave(stuck)
	fast := r.listen("")
	fast.named("snap")
	r.until("the stuck stream has its snap", func() bool { return !stuck.waits() })
	start := time.Now()
	const sent = 3 * queueLength
	for i := range sent {
		r.hub.broadcast("delta", map[string]any{"test": i}, nil)
		fast.next("its delta", func(m message) bool { return m.name == "delta" && m.data["test"] == float64(i) })
	}
	t.Logf("%d events past a stuck stream in %s", sent, time.Since(start))
	select {
	case <-stuck.lost:
	default:
		t.Fatal("the stuck stream was not given up")
	}
	if n := len(stuck.queue); n != queueLength {
		t.Errorf("%d events are kept for it, at most %d may be", n, queueLength)
	}
}

// TestLostStreamIsToldToComeAgain gives up a stream that a client reads.
func TestLostStreamIsToldToComeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.listen("")
	l.named("snap")
	for _, c := range r.hub.everybody() {
		close(c.lost)
	}
	l.named("resync")
	l.ended(5 * time.Second)
	again := r.listen("")
	again.named("snap")
}

func TestStreamEndsWithSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	session := must[secret.Text](t)(r.Access.Login(t.Context(), "vic", "stapled to the wall", "127.0.0.1"))
	l := r.listen("", "Cookie", sessionCookie+"="+session.Reveal())
	other := r.listen("")
	l.named("snap")
	other.named("snap")
	if err := r.Access.Logout(session.Reveal()); err != nil {
		t.Fatal(err)
	}
	l.ended(10 * time.Second)
	other.named("hb") // whoever is still signed in stays
	if err := r.Access.RevokeToken(t.Context(), r.administrator, "screen"); err != nil {
		t.Fatal(err)
	}
	other.ended(10 * time.Second)
}

func TestStreamEndsWithProgram(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.listen("status,alerts,chart:device/leaf1")
	l.named("snap")
	r.stopWeb()
	l.ended(2 * time.Second)
	req := must[*http.Request](t)(http.NewRequest("GET", r.http.URL+"/live", nil))
	req.Header.Set("Authorization", "Bearer "+r.viewer)
	res := must[*http.Response](t)(http.DefaultClient.Do(req))
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a stream after the end: %s", res.Status)
	}
	if status, _ := r.ask("", "GET", "/readyz", nil); status != http.StatusServiceUnavailable {
		t.Errorf("readyz after the end of the stream: %d", status)
	}
}

func TestNobodyHearsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if status, _ := r.ask("", "GET", "/live", nil); status != http.StatusUnauthorized {
		t.Errorf("live for nobody: %d", status)
	}
}

// TestChartFlowsWhileWatched looks at a switch: its target is polled each
// second, its busiest ports are drawn with the rates they have, and both end
// when the last looks away.
func TestChartFlowsWhileWatched(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	a, b := r.listen("chart:device/leaf1"), r.listen("chart:device/leaf1,chart:nobody/knows")
	r.until("the target is watched", func() bool { return slices.Equal(r.Live.Watched(), []string{"leaf1"}) })
	newest := map[string]float64{}
	values := 0
	a.next("ten live points of the busiest port", func(m message) bool {
		if m.name != "points" || m.data["panel"] != "received" {
			return false
		}
		for _, s := range m.data["series"].([]any) {
			s := s.(map[string]any)
			key := s["key"].(string)
			for _, p := range s["pts"].([]any) {
				at, v := p.([]any)[0].(float64), p.([]any)[1].(float64)
				if at <= newest[key] {
					t.Errorf("%s: a point of %v after one of %v", key, at, newest[key])
				}
				newest[key] = at
				if key == "Ethernet8" {
					if math.Abs(v-64000) > 6400 {
						t.Errorf("Ethernet8 receives %v bit/s, want 64000", v)
					}
					values++
				}
			}
		}
		return values >= 10
	})
	if newest["Ethernet1"] != 0 || newest["Ethernet3"] == 0 {
		t.Errorf("drawn were %v, want the busiest six of eight", newest)
	}
	b.next("points for the other", func(m message) bool { return m.name == "points" })
	a.hang()
	b.next("points after one looked away", func(m message) bool { return m.name == "points" })
	b.hang()
	r.until("nothing is watched", func() bool { return len(r.Live.Watched()) == 0 })
	r.lookAtChart(newest["Ethernet8"])
}

// lookAtChart compares the history with its live end.
func (r *rig) lookAtChart(liveUntil float64) {
	type series struct {
		Key string
		Pts [][2]*float64
	}
	got := take[struct {
		Series   []series
		From, To float64
	}](r, "GET", "/chart?item=device/leaf1&panel=received&range=hour", nil)
	if len(got.Series) != 6 || got.To-got.From != 3600 {
		r.t.Fatalf("%d series over %v s", len(got.Series), got.To-got.From)
	}
	for _, s := range got.Series {
		fine := 0
		for i, p := range s.Pts {
			if i > 0 && *p[0] <= *s.Pts[i-1][0] {
				r.t.Errorf("%s: point %v after %v", s.Key, *p[0], *s.Pts[i-1][0])
			}
			if i > 0 && *p[0]-*s.Pts[i-1][0] == 1 {
				fine++
			}
		}
		if s.Key == "Ethernet8" && (fine < 8 || *s.Pts[len(s.Pts)-1][0] < liveUntil) {
			r.t.Errorf("Ethernet8 has %d fine points in %d, its last at %v; live ones came until %v", fine, len(s.Pts), *s.Pts[len(s.Pts)-1][0], liveUntil)
		}
	}
}

// TestJobLinesComeOnce follows a job with two streams, one from its middle,
// and compares with what the runner printed.
func TestJobLinesComeOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	j := must[automation.Job](t)(r.Jobs.Submit(t.Context(), automation.Spec{ID: "job-1", Runbook: "greet", Hosts: []string{"web-1"}, By: "person:ann"}))
	const early, late = 40, 400
	say := func(from, to int) {
		for i := from; i <= to; i++ {
			r.talker.say <- fmt.Sprint("line ", i)
		}
	}
	say(1, early)
	l := r.listen("job:" + j.ID)
	l.named("snap")
	go func() {
		say(early+1, late)
		close(r.talker.say)
	}()
	half := r.listen("job:" + j.ID + "&since=20")
	for _, c := range []struct {
		l    *listener
		from int
	}{{l, 1}, {half, 21}} {
		var got, want []string
		for i := c.from; i <= late; i++ {
			want = append(want, fmt.Sprintf("%d line %d", i, i))
		}
		ended := false
		c.l.next("the last line and the end", func(m message) bool {
			if m.name == "line" {
				got = append(got, fmt.Sprint(m.data["seq"], " ", m.data["text"]))
			}
			ended = ended || m.name == "job" && m.data["phase"] == "succeeded"
			return ended && len(got) >= len(want)
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from line %d: %s", c.from, diff)
		}
	}
}

// TestFollowerThatFellBehind lets a follower wait while a job prints more than
// is kept for it; what it missed it reads, and tells nothing twice.
func TestFollowerThatFellBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	must[automation.Job](t)(r.Jobs.Submit(t.Context(), automation.Spec{ID: "job-1", Runbook: "greet", Hosts: []string{"web-1"}, By: "person:ann"}))
	r.talker.say <- "1"
	out := make(chan event)
	go r.followJob(t.Context(), "job-1", 0, out)
	const last = 4000
	for i := 2; i <= last; i++ {
		r.talker.say <- fmt.Sprint(i)
	}
	deadline := time.After(30 * time.Second)
	for want := int64(1); want <= last; {
		select {
		case e := <-out:
			var l automation.OutputLine
			if err := json.Unmarshal(e.data, &l); err != nil {
				t.Fatal(err)
			}
			if e.name != "line" {
				continue
			}
			if l.Seq != want || l.Text != fmt.Sprint(want) {
				t.Fatalf("line %d %q, want %d", l.Seq, l.Text, want)
			}
			want++
		case <-deadline:
			t.Fatalf("no line %d within 30 s", want)
		}
	}
	close(r.talker.say)
	for {
		select {
		case e := <-out:
			if e.name == "line" {
				t.Fatalf("a line beyond the last: %s", e.data)
			}
			if strings.Contains(string(e.data), automation.JobSucceeded) {
				return
			}
		case <-deadline:
			t.Fatal("the end was not told within 30 s")
		}
	}
}

func TestTopics(t *testing.T) {
	for in, want := range map[string]topics{
		"":                                      {},
		"status,alerts":                         {alerts: true},
		"chart:interface/a/Gi1/0,2,job:x,job:x": {charts: []string{"interface/a/Gi1/0,2"}, jobs: []string{"x"}},
		"hall:1,alerts":                         {alerts: true},
	} {
		if got := parseTopics(in); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %+v, want %+v", in, got, want)
		}
	}
}
