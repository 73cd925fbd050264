package tsdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// TestRemotePrometheus reads from a real Prometheus that stands on a folder
// which this store wrote.
func TestRemotePrometheus(t *testing.T) {
	t.Parallel()
	questions := 400
	if testing.Short() {
		questions = 40
	}
	_, r := need.Seed(t)
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 5e-324, math.MaxFloat64, 0.1, math.Float64frombits(value.StaleNaN)}
	samples, from, to := pastSamples(r, odd)
	dir := filepath.Join(t.TempDir(), "prometheus")
	db, err := tsdb.Open(tsdb.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := db.Append(t.Context(), samples); err != nil || res.Appended != len(samples) {
		t.Fatal(res, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	base := prometheusOn(t, dir)
	remote := openRemote(t, tsdb.Remote{URL: base})
	full := compareRemote(t, r, base, remote, from, to, false, questions)
	t.Logf("%d questions, %d with an answer that holds something", questions, full)
	if full < questions/2 {
		t.Errorf("only %d of %d answers held something", full, questions)
	}
	testRemoteLabels(t, remote, from, to)
	if none, _, err := remote.Series(t.Context(), [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchEqual, "__name__", "octets")}}, to.Add(time.Hour), to.Add(2*time.Hour), 0); err != nil || len(none) != 0 {
		t.Errorf("outside the time: %v, %v", none, err)
	}
	s := remote.Stats().Remote
	if s == nil || s.Err != nil || s.LastAnswer.IsZero() || s.URL != base {
		t.Errorf("stats %+v", s)
	}
}

func testRemoteLabels(t *testing.T, db *tsdb.DB, from, to time.Time) {
	t.Helper()
	ms := [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchEqual, "__name__", "octets")}, {labels.MustNewMatcher(labels.MatchEqual, "instance", "leaf3")}}
	series, _, err := db.Series(t.Context(), ms, from, to, 0)
	if err != nil || len(series) != 6 || series[0].Get("text") != "Zü\"\\\n" {
		t.Errorf("series %v, %v", series, err)
	}
	names, _, err := db.LabelNames(t.Context(), ms, from, to, 0)
	if diff := cmp.Diff([]string{"__name__", "instance", "rack", "text"}, names); err != nil || diff != "" {
		t.Error(err, diff)
	}
	values, notes, err := db.LabelValues(t.Context(), "instance", nil, from, to, 2)
	if diff := cmp.Diff([]string{"leaf0", "leaf1"}, values); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if len(notes) == 0 {
		t.Error("an answer cut at its limit says nothing of it")
	}
}

// TestRemoteVictoriaMetrics asks Debian's VictoriaMetrics what both languages
// understand alike.
func TestRemoteVictoriaMetrics(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and with the race detector longer")
	}
	t.Parallel()
	binary := need.Binary(t, "victoria-metrics", "victoria-metrics")
	_, r := need.Seed(t)
	samples, from, to := pastSamples(r, []float64{0, 1.5, -3, 1e15})
	dir := t.TempDir()
	base := startPeer(t, binary, "/health", func(addr string) []string {
		return []string{"-storageDataPath=" + dir, "-httpListenAddr=" + addr, "-retentionPeriod=100y", "-search.disableCache"}
	})
	var body bytes.Buffer
	for _, s := range samples {
		fmt.Fprintf(&body, "%s{", s.Labels.Get("__name__"))
		s.Labels.DropReserved(func(n string) bool { return n == "__name__" }).Range(func(l labels.Label) { fmt.Fprintf(&body, "%s=%q,", l.Name, l.Value) })
		fmt.Fprintf(&body, "} %v %d\n", s.V, s.T)
	}
	resp, err := http.Post(base+"/api/v1/import/prometheus", "text/plain", &body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	if resp, err = http.Get(base + "/internal/force_flush"); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	db := openRemote(t, tsdb.Remote{URL: base})
	if full := compareRemote(t, r, base, db, from, to, true, 150); full < 60 {
		t.Errorf("only %d of 150 answers held something", full)
	}
	testRemoteLabels(t, db, from, to)
	res, err := db.Query(t.Context(), "scalar(count(octets))", to)
	if s, ok := res.Value.(promql.Scalar); err != nil || !ok || s.V != 4 {
		t.Errorf("a scalar: %v, %v", res, err)
	}
}

func appendAt(t *testing.T, db *tsdb.DB, at time.Time, v float64) {
	t.Helper()
	s := tsdb.Sample{Labels: labels.FromStrings("__name__", "up", "instance", "leaf1"), T: at.UnixMilli(), V: v}
	if r, err := db.Append(t.Context(), []tsdb.Sample{s}); err != nil || r.Appended != 1 {
		t.Fatal(r, err)
	}
}

// TestRemoteDead has a store that is not there: what the buffer holds is still
// judged, the rest is an error and never an empty answer.
func TestRemoteDead(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	db := openRemote(t, tsdb.Remote{URL: srv.URL})
	now := time.Now()
	ask := func(expr string, at time.Time) (int, error) {
		res, err := db.Query(t.Context(), expr, at)
		if err != nil {
			return 0, err
		}
		v, err := res.Vector()
		return len(v), err
	}
	if _, err := ask("up", now); !errors.Is(err, tsdb.ErrRemote) {
		t.Errorf("with an empty buffer: %v", err)
	}
	for at := now.Add(-20 * time.Minute); !at.After(now); at = at.Add(15 * time.Second) {
		appendAt(t, db, at, 1)
	}
	for expr, held := range map[string]bool{
		`up`: true, `up == 0`: true, `max_over_time(up[10m])`: true, `rate(up[5m] offset 6m)`: true, `vector(1)`: true,
		`max_over_time(up[30m])`: false, `up offset 18m`: false, `up / up offset 1d`: false, `up @ 0`: false, `max_over_time(up[15m:1m])`: true,
		`max_over_time(up[16m:1m])`: false, `avg_over_time(rate(up[5m])[1h:1m])`: false,
	} {
		n, err := ask(expr, now)
		if held && (err != nil || n == 0 && expr != `up == 0`) || !held && !errors.Is(err, tsdb.ErrRemote) {
			t.Errorf("%s: held is %v, got %d samples, %v", expr, held, n, err)
		}
	}
	// What pages and the API ask is never answered by the buffer alone.
	if _, err := db.QueryRange(t.Context(), "up", now.Add(-time.Minute), now, time.Second); !errors.Is(err, tsdb.ErrRemote) {
		t.Errorf("a range: %v", err)
	}
	q, err := db.InstantQuery(t.Context(), nil, "up", now)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if res := q.Exec(t.Context()); !errors.Is(res.Err, tsdb.ErrRemote) || res.Value != nil {
		t.Errorf("an instant query: %v", res)
	}
	ms := [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchEqual, "__name__", "up")}}
	_, _, e1 := db.Series(t.Context(), ms, now, now, 0)
	_, _, e2 := db.LabelNames(t.Context(), ms, now, now, 0)
	_, _, e3 := db.LabelValues(t.Context(), "instance", ms, now, now, 0)
	for _, err := range []error{e1, e2, e3} {
		if !errors.Is(err, tsdb.ErrRemote) {
			t.Errorf("labels: %v", err)
		}
	}
	if s := db.Stats().Remote; s == nil || s.Err == nil || s.ErrSince.IsZero() || !s.LastAnswer.IsZero() {
		t.Errorf("stats %+v", s)
	}
	if _, err := db.InstantQuery(t.Context(), nil, "up ==", now); err == nil || errors.Is(err, tsdb.ErrRemote) {
		t.Errorf("what is no PromQL: %v", err)
	}
}

// TestRemoteBehind has a store that lacks our newest samples: it may not be
// asked for a judgement of them, and an answer to others says so.
func TestRemoteBehind(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := `{"resultType":"vector","result":[]}`
		if strings.HasSuffix(r.URL.Path, "query_range") {
			data = `{"resultType":"matrix","result":[]}`
		}
		_, _ = w.Write([]byte(`{"status":"success","data":` + data + `}`))
	}))
	defer srv.Close()
	var behind atomic.Int64
	db := openRemote(t, tsdb.Remote{URL: srv.URL, Behind: func() time.Duration { return time.Duration(behind.Load()) }})
	now := time.Now()
	f := func(lag time.Duration, at time.Time, fails bool, notes int) {
		t.Helper()
		behind.Store(int64(lag))
		if _, err := db.Query(t.Context(), "max_over_time(up[1d])", at); errors.Is(err, tsdb.ErrBehind) != fails {
			t.Errorf("%s behind: %v", lag, err)
		}
		res, err := db.QueryRange(t.Context(), "up", at.Add(-time.Hour), at, time.Minute)
		if err != nil || len(res.Warnings) != notes {
			t.Errorf("%s behind: a range has notes %v, %v", lag, res.Warnings, err)
		}
	}
	f(0, now, false, 0)
	f(50*time.Second, now, false, 0)
	f(10*time.Minute, now, true, 1)
	f(10*time.Minute, now.Add(-time.Hour), false, 0)
	if s := db.Stats().Remote; s.Behind != 10*time.Minute {
		t.Errorf("stats %+v", s)
	}
}

// TestRemoteIsProbed sees the store's state in Stats by Run alone.
func TestRemoteIsProbed(t *testing.T) {
	var asked atomic.Pointer[url.Values]
	answered := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked.Store(&r.Form)
		http.Error(w, "no room for hunter2", http.StatusBadGateway)
		select {
		case answered <- struct{}{}:
		default:
		}
	}))
	defer srv.Close()
	db := openRemote(t, tsdb.Remote{URL: srv.URL})
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- db.Run(ctx) }()
	<-answered
	need.Until(t, "the failure is known", func() bool { return db.Stats().Remote.Err != nil })
	if s := db.Stats().Remote; asked.Load().Get("query") != "1" {
		t.Errorf("stats %+v", s)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestBufferKeepsWhatTheStoreLacks lets blocks grow old while the remote store
// does not get them, and then does.
func TestBufferKeepsWhatTheStoreLacks(t *testing.T) {
	t.Parallel()
	var behind atomic.Int64
	behind.Store(int64(24 * time.Hour))
	db, err := tsdb.Open(tsdb.Options{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: time.Second, Retention: time.Hour, RetentionBehind: 4 * time.Hour,
		Remote: &tsdb.Remote{URL: "http://127.0.0.1:1", Behind: func() time.Duration { return time.Duration(behind.Load()) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	start := time.Now().Add(-10 * time.Hour).Truncate(time.Hour)
	oldest := func(until time.Time) time.Duration {
		t.Helper()
		if err := db.SettleBlocks(t.Context()); err != nil {
			t.Fatal(err)
		}
		return until.Sub(db.Stats().MinTime)
	}
	at := start
	write := func(to time.Time) {
		t.Helper()
		for ; at.Before(to); at = at.Add(time.Minute) {
			appendAt(t, db, at, 1)
		}
	}
	write(start.Add(3 * time.Hour))
	if age := oldest(at); age < 3*time.Hour {
		t.Errorf("only %s are kept of three hours that the store lacks", age)
	}
	write(start.Add(8 * time.Hour))
	if age := oldest(at); age < 4*time.Hour || age > 5*time.Hour+20*time.Minute {
		t.Errorf("%s are kept, where four hours are the most", age)
	}
	behind.Store(0)
	write(start.Add(9 * time.Hour)) // blocks are deleted when others are written
	if age := oldest(at); age < time.Hour || age > 2*time.Hour+20*time.Minute {
		t.Errorf("%s are kept, where the store has all and an hour is the retention", age)
	}
}

// TestOpeningKeepsWhatTheStoreLacks opens the store while nobody can tell yet
// what the remote store lacks.
func TestOpeningKeepsWhatTheStoreLacks(t *testing.T) {
	t.Parallel()
	var behind atomic.Int64
	behind.Store(math.MaxInt64)
	o := tsdb.Options{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: time.Second, Retention: time.Hour, RetentionBehind: 8 * time.Hour,
		Remote: &tsdb.Remote{URL: "http://127.0.0.1:1", Behind: func() time.Duration { return time.Duration(behind.Load()) }},
	}
	db, err := tsdb.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Truncate(time.Hour)
	start := end.Add(-5 * time.Hour)
	for at := start; at.Before(end); at = at.Add(time.Minute) {
		appendAt(t, db, at, 1)
	}
	if err := db.SettleBlocks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	behind.Store(0)
	if db, err = tsdb.Open(o); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if s := db.Stats(); s.MinTime.After(start) || s.Blocks == 0 {
		t.Errorf("%d blocks from %s on are left by an opening, want all from %s on", s.Blocks, s.MinTime, start)
	}
}
