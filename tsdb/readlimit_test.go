package tsdb

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/promql"
)

// TestReadLimit stores ten series of 200 samples and lets a query read a
// thousand of them.
func TestReadLimit(t *testing.T) {
	db, err := Open(Options{Dir: t.TempDir(), MaxRead: 1000, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	start := time.Now().Add(-2 * time.Hour).Truncate(time.Minute)
	for i := range 200 {
		var step []Sample
		for s := range 10 {
			ls := labels.FromStrings("__name__", "m", "s", fmt.Sprint(s))
			step = append(step, Sample{Labels: ls, T: start.Add(time.Duration(i) * 30 * time.Second).UnixMilli(), V: float64(i)})
		}
		if r, err := db.Append(t.Context(), step); err != nil || r.Appended != len(step) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	end := start.Add(199 * 30 * time.Second)
	f := func(expr string, over bool) {
		t.Helper()
		r, err := db.Query(t.Context(), expr, end)
		limit, is := errors.AsType[ReadLimitError](err)
		if is != over || !is && err != nil {
			t.Errorf("%s: over the limit %v, want %v; %v %v", expr, is, over, r, err)
		}
		if is && limit.Limit != 1000 {
			t.Errorf("%s: the error says %d", expr, limit.Limit)
		}
	}
	f(`sum(count_over_time(m[2h]))`, true)
	f(`sum(count_over_time(m{s=~"[0-4]"}[2h]))`, false)
	f(`sum(count_over_time(m{s=~"[0-4]"}[2h]))`, false) // each query has a count of its own
	f(`sum(count_over_time(m{s=~"[0-4]"}[2h])) + sum(sum_over_time(m{s=~"[0-4]"}[2h]))`, true)
	f(`sum(m)`, false)
	q, err := db.RangeQuery(t.Context(), nil, `sum(m)`, start, end, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if res := q.Exec(t.Context()); !errors.As(res.Err, new(ReadLimitError)) {
		t.Errorf("a range over all: %v", res.Err)
	}
}

func TestReadLimitKeepsValues(t *testing.T) {
	// Counted and uncounted iterators take turns as series come.
	db, err := Open(Options{Dir: t.TempDir(), MaxRead: 100_000, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	at := time.Now().Truncate(time.Minute)
	for s := range 200 {
		for i := range 20 {
			ls := labels.FromStrings("__name__", "m", "s", fmt.Sprint(s))
			smp := Sample{Labels: ls, T: at.Add(time.Duration(i-20) * time.Second).UnixMilli(), V: float64(s * i)}
			if _, err := db.Append(t.Context(), []Sample{smp}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const expr = `max_over_time(m[1h]) + count_over_time(m[1h])`
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	q, err := engine.NewInstantQuery(t.Context(), db.Queryable(), nil, expr, at)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	want, err := q.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatal(err)
	}
	got, err := db.Query(t.Context(), expr, at)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.String(), got.String()); d != "" || len(want) != 200 {
		t.Errorf("%d results (-bare +counted):\n%s", len(want), d)
	}
}

func TestMetadataIsBounded(t *testing.T) {
	var m Metadata
	gauge := metadata.Metadata{Type: model.MetricTypeGauge, Help: "How warm it is.", Unit: "celsius"}
	held, again := m.Set("temperature", gauge), m.Set("temperature", gauge)
	if !held || !again {
		t.Error("not held")
	}
	for i := range 2 * maxOfOneMetric {
		m.Set("temperature", metadata.Metadata{Help: fmt.Sprint(i)})
	}
	if got := m.Of("temperature"); len(got) != maxOfOneMetric || got[0] != gauge {
		t.Errorf("one metric has %d texts: %v", len(got), got)
	}
	if m.Set("", gauge) || m.Set("long", metadata.Metadata{Help: string(make([]byte, maxMetadataText))}) {
		t.Error("a metric without a name, or with a book for a help text, is held")
	}
	for i := range maxMetrics + 10 {
		m.Set(fmt.Sprint("m", i), gauge)
	}
	if got := len(m.All()); got != maxMetrics {
		t.Errorf("%d metrics, want %d", got, maxMetrics)
	}
}
