package promapi

import (
	"bufio"
	stdcmp "cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	prom "github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// The peer is a current Prometheus. Both sides open a copy of one data folder,
// which Prometheus' library wrote. What is known to differ, by name:
//
//   - status/buildinfo has our own version beside that of the API;
//   - bodies below 1400 bytes are not compressed;
//   - HEAD is answered wherever GET is, and Allow says so;
//   - the error of a form that does not parse, in whose words Go's libraries
//     differ;
//   - a query whose time is up before it begins is bad data (400) or an
//     execution error (422) to Prometheus; here it is a timeout (503), as at any
//     later moment;
//   - where a later timeout is noticed is chance, and so are the timings in
//     statistics;
//   - the order of equals in status/tsdb, and which of them limit cuts;
//   - status/walreplay counts segments.
//
// All else is compared as it stands, values to the last digit.

// history is the random data both sides get.
type history struct {
	from, to time.Time
	series   []labels.Labels
	samples  [][]tsdb.Sample // a step each
}

func randomHistory(r *rand.Rand) history {
	return randomHistoryTo(r, time.Now().Add(-3*time.Hour).Truncate(time.Minute), 90*time.Minute)
}

func randomHistoryTo(r *rand.Rand, to time.Time, length time.Duration) history {
	h := history{from: to.Add(-length), to: to}
	for i := range 6 {
		instance := fmt.Sprintf("leaf%d", i+1)
		for _, port := range []string{"Ethernet1", "Ethernet<2>&", `Ethernet"3"\`, "Ethernet4\n"} {
			h.series = append(h.series, labels.FromStrings("__name__", "ifHCInOctets", "job", "snmp", "instance", instance, "ifName", port))
		}
		for _, name := range []string{"up", "temperature", "odd_values"} {
			h.series = append(h.series, labels.FromStrings("__name__", name, "job", "snmp", "instance", instance, "site", "Züri"))
		}
		for _, le := range []string{"0.1", "1", "10", "+Inf"} {
			h.series = append(h.series, labels.FromStrings("__name__", "latency_bucket", "job", "linux", "instance", instance, "le", le))
		}
	}
	slices.SortFunc(h.series, labels.Compare)
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 1e-7, 1e22, 123456789.125, -1}
	counters := make([]float64, len(h.series))
	for i := range counters {
		counters[i] = 1e9
	}
	for t := h.from; t.Before(h.to); t = t.Add(15 * time.Second) {
		var step []tsdb.Sample
		for i, ls := range h.series {
			if t != h.from && r.IntN(20) == 0 {
				continue // a poll that was missed
			}
			v := float64(r.IntN(400)) / 4
			switch ls.Get("__name__") {
			case "ifHCInOctets", "latency_bucket":
				counters[i] += math.Trunc(v)
				if r.IntN(100) == 0 {
					counters[i] = 1e8 // a reset
				}
				v = counters[i]
			case "up":
				v = float64(r.IntN(2))
			case "odd_values":
				v = odd[r.IntN(len(odd))]
			}
			step = append(step, tsdb.Sample{Labels: ls, T: t.UnixMilli() + 1 + int64(r.IntN(996)), V: v})
		}
		h.samples = append(h.samples, step)
	}
	return h
}

// folder writes the history, with histograms and the end of a series, as a
// data folder of Prometheus.
func (h history) folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	o := prom.DefaultOptions()
	o.OutOfOrderTimeWindow = (30 * time.Minute).Milliseconds()
	db, err := prom.Open(dir, quiet(), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range h.samples {
		app := db.Appender(t.Context())
		for _, s := range step {
			if _, err := app.Append(0, s.Labels, s.T, s.V); err != nil {
				t.Fatalf("append %s: %v", s.Labels, err)
			}
		}
		h.appendHistograms(t, app, int64(i))
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// appendHistograms adds one native histogram, one with buckets of its own, and
// a series that ends every ten steps.
func (h history) appendHistograms(t *testing.T, app storage.Appender, i int64) {
	t.Helper()
	at := h.from.UnixMilli() + 15_000*i + 7
	native := &histogram.Histogram{
		Schema: 1, ZeroThreshold: 0.001, ZeroCount: uint64(i), Count: uint64(7 * i), Sum: 12.5 * float64(i),
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}, {Offset: 3, Length: 1}}, PositiveBuckets: []int64{i, i, -i},
		NegativeSpans: []histogram.Span{{Offset: 1, Length: 1}}, NegativeBuckets: []int64{2 * i},
	}
	custom := &histogram.FloatHistogram{
		Schema: histogram.CustomBucketsSchema, Count: float64(3 * i), Sum: float64(i) / 3, CustomValues: []float64{0.1, 1, 10},
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 3}}, PositiveBuckets: []float64{float64(i), float64(i), float64(i)},
	}
	_, err := app.AppendHistogram(0, labels.FromStrings("__name__", "native", "instance", "leaf1"), at, native, nil)
	_, err2 := app.AppendHistogram(0, labels.FromStrings("__name__", "custom", "instance", "leaf1"), at, nil, custom)
	v := float64(i)
	if i%10 == 9 {
		v = math.Float64frombits(value.StaleNaN)
	}
	_, err3 := app.Append(0, labels.FromStrings("__name__", "ending", "température", "où<>"), at, v)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
}

func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// ours serves a copy of the folder by this package.
func ours(t *testing.T, dir string, o tsdb.Options) *httptest.Server {
	t.Helper()
	o.Dir, o.Log = copied(t, dir), quiet()
	db, err := tsdb.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := httptest.NewServer(New(Options{DB: db}))
	t.Cleanup(s.Close)
	return s
}

var listening = regexp.MustCompile(`msg="Listening on".* address=([0-9.:]+)`)

// peer starts a Prometheus on a copy of the folder and returns its address.
func peer(t *testing.T, dir, settings string, flags ...string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(need.Prometheus(t), append([]string{
		"--config.file=" + config, "--storage.tsdb.path=" + copied(t, dir), "--web.listen-address=127.0.0.1:0",
	}, flags...)...)
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer deadline.Stop()
	var address, said string
	ready := false // said before or after the address
	for lines := bufio.NewScanner(logs); lines.Scan(); {
		said += lines.Text() + "\n"
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			address = m[1]
		}
		if ready = ready || strings.Contains(lines.Text(), "Server is ready"); ready && address != "" {
			go func() { _, _ = io.Copy(io.Discard, logs) }()
			return "http://" + address
		}
	}
	t.Fatalf("prometheus did not become ready:\n%s", said)
	return ""
}

// request is one question, by GET or as a POSTed form.
type request struct {
	path string
	form url.Values
	post bool
}

func (q request) String() string {
	if q.post {
		return "POST " + q.path + " " + q.form.Encode()
	}
	return q.path + "?" + q.form.Encode()
}

// reply is all that the two sides are compared by.
type reply struct {
	Status int
	Type   string
	Body   string
}

func (q request) do(t *testing.T, base string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+q.path+"?"+q.form.Encode(), nil)
	if q.post {
		req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, base+q.path, strings.NewReader(q.form.Encode()))
	}
	if err != nil {
		t.Fatal(err)
	}
	if q.post {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return send(t, req)
}

func send(t *testing.T, req *http.Request) reply {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header.Get("Content-Type"), string(body)}
}

// alike asks both sides and compares status, type and whole body.
func alike(t *testing.T, us, them string, requests []request) (refused int) {
	t.Helper()
	for _, q := range requests {
		want, got := settled(t, q, q.do(t, them)), settled(t, q, q.do(t, us))
		if !cmp.Equal(want, got) {
			want, got = byChance(t, q, them, want, got)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-prometheus +nocturne):\n%s", q, d)
		}
		if want.Status >= 400 {
			refused++
		}
	}
	return refused
}

var (
	timings  = regexp.MustCompile(`"timings":\{[^}]*\}`)
	timedOut = regexp.MustCompile(`timed out in [a-z ]+`)
	segments = regexp.MustCompile(`"max":[0-9]+,"current":[0-9]+`)
)

// Prometheus' two other answers to a query whose time is up before it begins.
var tooLateToBegin = []string{
	`{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": context deadline exceeded"}`,
	`{"status":"error","errorType":"execution","error":"context deadline exceeded"}`,
}

// settled takes out what is chance or known to differ.
func settled(t *testing.T, q request, r reply) reply {
	t.Helper()
	if slices.Contains(tooLateToBegin, r.Body) {
		r.Status, r.Body = http.StatusServiceUnavailable, `{"status":"error","errorType":"timeout","error":"query timed out in query queue"}`
	}
	r.Body = timedOut.ReplaceAllString(r.Body, "timed out")
	r.Body = timings.ReplaceAllString(r.Body, `"timings":{}`)
	switch {
	case strings.HasSuffix(q.path, "/walreplay"):
		r.Body = segments.ReplaceAllString(r.Body, "")
	case strings.HasSuffix(q.path, "/tsdb") && r.Status == http.StatusOK:
		r.Body = untied(t, r.Body)
	}
	return r
}

// byChance asks Prometheus again: where it contradicts itself, ours has only to
// be one of its answers. Two things are chance there: whether a query whose
// time was up before it came is parsed first, and the order of series behind
// an operation of a range query. That order decides between 0 and -0 at each
// time, so in such an answer alone their signs are not compared.
func byChance(t *testing.T, q request, them string, want, got reply) (reply, reply) {
	t.Helper()
	zeros := false
	for range 50 {
		again := settled(t, q, q.do(t, them))
		if cmp.Equal(again, got) {
			return again, got
		}
		zeros = zeros || !cmp.Equal(again, want) && cmp.Equal(signless(again), signless(want))
	}
	if zeros {
		return signless(want), signless(got)
	}
	return want, got
}

// signless is a reply without the signs of zeros.
func signless(r reply) reply {
	r.Body = strings.ReplaceAll(r.Body, `"-0"`, `"0"`)
	return r
}

// untied blanks the names of those equals that may be cut, and orders others.
func untied(t *testing.T, body string) string {
	t.Helper()
	var b struct{ Data headStatus }
	if err := json.Unmarshal([]byte(body), &b); err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]counted{b.Data.SeriesByMetric, b.Data.ValuesByLabel, b.Data.MemoryByLabel, b.Data.SeriesByPairing} {
		for i, c := range list {
			if c.Value == list[len(list)-1].Value {
				list[i].Name = ""
			}
		}
		slices.SortStableFunc(list, func(x, y counted) int {
			return stdcmp.Or(stdcmp.Compare(y.Value, x.Value), strings.Compare(x.Name, y.Name))
		})
	}
	return fmt.Sprintf("%+v", b.Data)
}

const outOfOrder = "storage:\n  tsdb:\n    out_of_order_time_window: 30m\n"

func TestAnswersLikePrometheus(t *testing.T) {
	_, r := need.Seed(t)
	h := randomHistory(r)
	dir := h.folder(t)
	us, them := ours(t, dir, tsdb.Options{}).URL, peer(t, dir, outOfOrder)
	requests := append(tableRequests(h), randomRequests(r, h, 1000)...)
	refused := alike(t, us, them, requests)
	t.Logf("%d requests: every body equal byte for byte, %d of them refused alike", len(requests), refused)
}
