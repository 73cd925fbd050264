package ui

import (
	"math"
	"net/url"
	"testing"
	"time"
)

func TestStateNeverShowsGreenForWhatItDoesNotKnow(t *testing.T) {
	for _, s := range []State{"", "green", "OK", "resolved"} {
		if s.Known() != Unknown || s.Word() != "Unknown" {
			t.Errorf("%q is shown as %s, %q", s, s.Known(), s.Word())
		}
	}
	for i, s := range States() {
		if s.Rank() != i || s.Known() != s {
			t.Errorf("%s: rank %d, want %d", s, s.Rank(), i)
		}
	}
	if got := (Tally{OK: 3, Unknown: 1, Warning: 0}).Worst(); got != Unknown {
		t.Errorf("worst is %s", got)
	}
}

func TestQueryRoundTrip(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		v, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := ParseQuery("/devices", v, "kind").Href(); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
	f("", "/devices")
	f("q=+leaf+1&state=major&kind=host&other=1", "/devices?kind=host&q=leaf+1&state=major")
	f("state=green&page=-3&page=x", "/devices")
	f("page=4&sort=name&desc=1", "/devices?desc=1&page=4&sort=name")
}

func TestQueryLinksLeaveTheQueryAlone(t *testing.T) {
	q := Query{Path: "/d", Filter: map[string]string{"kind": "host"}, Sort: "name", Page: 3}
	if got, want := q.With("kind", "device"), "/d?kind=device&sort=name"; got != want {
		t.Errorf("With: %s, want %s", got, want)
	}
	if got, want := q.SortedBy("name"), "/d?desc=1&kind=host&sort=name"; got != want {
		t.Errorf("SortedBy: %s, want %s", got, want)
	}
	if q.Filter["kind"] != "host" || q.Desc || q.Page != 3 {
		t.Errorf("the query changed: %+v", q)
	}
}

func TestSpanAndAgo(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := Span(d); got != want {
			t.Errorf("Span(%v) = %q, want %q", d, got, want)
		}
	}
	f(0, "0 ms")
	f(38*time.Millisecond, "38 ms")
	f(1400*time.Millisecond, "1.4 s")
	f(10*time.Second, "10 s")
	f(200*time.Second, "3 min 20 s")
	f(time.Hour, "1 h")
	f(26*time.Hour+5*time.Minute, "1 d 2 h")
	f(-1, "–")
	now := time.Now()
	if got := Ago(now, now.Add(time.Hour)); got != "just now" {
		t.Errorf("the future is %q", got)
	}
	if got := Ago(now, time.Time{}); got != "never" {
		t.Errorf("never is %q", got)
	}
}

func TestSparkLeavesGaps(t *testing.T) {
	s := Spark{Points: []float64{1, 2, math.NaN(), 3}}
	if got, want := s.line(false), "M0 22L33.33 12M100 2"; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	if got := s.line(true); got != "" {
		t.Errorf("an area is drawn over a gap: %q", got)
	}
	for _, none := range [][]float64{nil, {1}, {math.NaN(), math.NaN()}} {
		if got := (Spark{Points: none}).line(false); got != "" {
			t.Errorf("%v draws %q", none, got)
		}
	}
}
