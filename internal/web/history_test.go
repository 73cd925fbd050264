package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
	"nocturne/views/ui"
)

func (e *estate) openHistory(o tsdb.Options) {
	e.t.Helper()
	o.Dir, o.Log = e.t.TempDir(), quietly()
	e.History = must[*tsdb.DB](e.t)(tsdb.Open(o))
	e.t.Cleanup(func() { e.History.Close() })
}

func (e *estate) says(as, path string, words ...string) {
	e.t.Helper()
	got := e.get(as, path)
	for _, w := range words {
		if got.Code != http.StatusOK || !strings.Contains(got.Body.String(), w) {
			e.t.Errorf("%s as %s: %d, does not say %q", path, as, got.Code, w)
		}
	}
}

func (e *estate) lacks(as, path string, words ...string) {
	e.t.Helper()
	text := e.get(as, path).Body.String()
	for _, w := range words {
		if strings.Contains(text, w) {
			e.t.Errorf("%s as %s says %q", path, as, w)
		}
	}
}

// TestHistoryPageTellsRejected has sources reject for several reasons, and
// come near their limit.
func TestHistoryPageTellsRejected(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	e.openHistory(tsdb.Options{Limits: tsdb.Limits{SeriesPerSource: 10, Labels: 4}})
	now := time.Now().UnixMilli()
	series := func(n int) labels.Labels { return labels.FromStrings("__name__", "m", "n", fmt.Sprint(n)) }
	appendAs := func(source string, samples ...tsdb.Sample) {
		t.Helper()
		if _, err := e.History.Source(source).Append(t.Context(), samples); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 13 {
		appendAs("full", tsdb.Sample{Labels: series(n), T: now, V: 1})
	}
	appendAs("full", tsdb.Sample{Labels: series(1), T: now, V: 2}, tsdb.Sample{Labels: series(1), T: now + 24*3600_000, V: 2})
	appendAs("wrong", tsdb.Sample{Labels: labels.FromStrings("__name__", "w", "a", "1", "b", "2", "c", "3", "d", "4"), T: now, V: 1})
	for n := range 8 {
		appendAs(nastyMarkup, tsdb.Sample{Labels: series(100 + n), T: now, V: 1})
	}
	e.says("vic", "/admin/history", "3 over the source&#39;s limit", "1 another value at the same time", "1 from the future", "1 labels too many or too long",
		"at its limit of series: new ones are rejected", "all it sent was rejected", "near its limit of series", "has sent nothing since the start",
		"History takes samples, but not all is well", "&lt;script&gt;alert(1)", "__name__=m", "Samples are not sent on", "None was found")
	e.lacks("vic", "/admin/history", nastyMarkup, "History is read-only")
	e.says("vic", "/admin/history?state=major", "full", "wrong")
	e.lacks("vic", "/admin/history?q=full", `<span class="wrap-any">wrong`)

	l := e.lookAtHistory(time.Now())
	states := map[string]ui.State{}
	for _, s := range l.sources() {
		states[s.Name] = s.State
	}
	if states["full"] != ui.Major || states["wrong"] != ui.Major || states[nastyMarkup] != ui.Warning || states["program"] != ui.Unknown {
		t.Errorf("states of sources %v", states)
	}
	out, err := e.apiHistory(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := out.Body
	if b.State != ui.Major || b.Series != 18 || b.Rejected["source_limit"] != 3 || b.Rejected["label_limit"] != 1 || b.ReadOnly != nil || b.Limits.SeriesPerSource != 10 {
		t.Errorf("the API says %+v", b)
	}
	if len(b.Cost.Metrics) != 1 || b.Cost.Metrics[0] != (countJSON{"m", 18}) || len(b.Held) != 3 || b.Held[0].To.UnixMilli() != now || b.Held[1].Name != "rolled up to 5m" || b.Held[1].From != nil {
		t.Errorf("cost %+v, held %+v", b.Cost, b.Held)
	}
}

// TestReadOnlyHistoryIsUnmissable opens the store on a disk without the room
// that it wants: every page says so and still works.
func TestReadOnlyHistoryIsUnmissable(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	const banner = `id="read-only" role="alert"><b>READ-ONLY</b>`
	for _, path := range []string{"/", "/racks", "/admin/history"} {
		e.says("vic", path, `id="read-only" role="alert" hidden>`)
		e.lacks("vic", path, banner)
	}
	if word := e.readOnlyWord(); word != "" {
		t.Errorf("a store that is well: %q", word)
	}
	before := time.Now().Truncate(time.Second)
	e.openHistory(tsdb.Options{MinFree: 1 << 60})
	if _, err := e.History.Append(t.Context(), []tsdb.Sample{{Labels: labels.FromStrings("__name__", "m"), T: time.Now().UnixMilli()}}); !errors.Is(err, tsdb.ErrReadOnly) {
		t.Fatalf("the store takes samples: %v", err)
	}
	for _, as := range []string{"ann", "vic"} {
		for _, path := range []string{"/", "/devices", "/racks", "/topology", "/admin/about", "/admin/history"} {
			e.says(as, path, banner, "free, ", "are needed", `href="/admin/history"`)
		}
	}
	e.says("vic", "/admin/history", "History is read-only since", "no samples are taken", "by itself once there is room", `class="hero verdict" data-state="critical" role="alert"`,
		"nothing is taken while the history is read-only")
	out, err := e.apiHistory(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := out.Body.ReadOnly; r == nil || r.Since.Before(before) || r.Since.After(time.Now()) || !strings.Contains(r.Reason, "are needed") || strings.Contains(r.Reason, "read-only") || out.Body.State != ui.Critical {
		t.Errorf("the API says %+v of %s", r, out.Body.State)
	}
	first, _ := e.History.ReadOnly()
	asked := time.Now()
	need.Until(t, "the clock goes on", func() bool { return time.Since(asked) > time.Millisecond })
	if again, _ := e.History.ReadOnly(); !again.Equal(first) {
		t.Errorf("read-only since %v, then since %v", first, again)
	}
}

// TestReceiverThatNeverAnsweredIsNotWell sends samples on to an address where
// nobody listens, and to nobody in particular.
func TestReceiverThatNeverAnsweredIsNotWell(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	f := must[*forward.Forwarder](t)(forward.New(forward.Options{
		Source: e.History, Dir: t.TempDir(), Log: quietly(), Receivers: []forward.Receiver{{Name: "lake", URL: gone.URL + "/write?token=hush"}},
	}))
	e.Receivers = f.Status
	e.says("vic", "/admin/history", "lake", gone.URL+"/write", "Receiver lake has answered nothing since the start")
	e.lacks("vic", "/admin/history", "hush", "History takes samples and answers")
	if out, err := e.apiHistory(t.Context(), nil); err != nil || len(out.Body.Receives) != 1 || out.Body.Receives[0].State != ui.Unknown {
		t.Errorf("the API says %+v, %v", out, err)
	}
	at := time.Now()
	for _, c := range []struct {
		status forward.Status
		want   ui.State
	}{
		{forward.Status{}, ui.Unknown},
		{forward.Status{Position: at}, ui.Unknown}, // of an earlier run
		{forward.Status{Failing: true}, ui.Major},
		{forward.Status{Failing: true, Sent: 9}, ui.Major},
		{forward.Status{Sent: 9, CatchUpFrom: at, CatchUpTo: at}, ui.Warning},
		{forward.Status{Sent: 9, Lag: time.Hour}, ui.Warning},
		{forward.Status{Sent: 9, Refused: 1}, ui.Warning},
		{forward.Status{Sent: 9, Lag: time.Second}, ui.OK},
	} {
		if got, why := receiverState(c.status); got != c.want || (got == ui.OK) != (why == "") {
			t.Errorf("%+v: %s (%s), want %s", c.status, got, why, c.want)
		}
	}
}

// TestStreamTellsOfReadOnly looks at what open pages hear by heartbeat.
func TestStreamTellsOfReadOnly(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	if beat := e.hub.beat(time.Now()); beat["readOnly"] != "" {
		t.Errorf("a store that is well: %v", beat)
	}
	e.openHistory(tsdb.Options{MinFree: 1 << 60})
	if said, _ := e.hub.beat(time.Now())["readOnly"].(string); !strings.HasPrefix(said, "History takes no samples, since ") || !strings.Contains(said, "are needed") {
		t.Errorf("a store that is read-only: %q", said)
	}
}
