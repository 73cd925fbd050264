package remotewrite_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/remotewrite"
)

// startPrometheus runs a server and returns its address.
func startPrometheus(t *testing.T, config func(addr string) string, args ...string) string {
	t.Helper()
	path := need.Prometheus(t)
	addr, dir := freeAddr(t), t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config(addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + addr, "--log.level=error"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	need.Until(t, "Prometheus answers", func() bool { return answers("http://" + addr + "/-/ready") })
	return "http://" + addr
}

// storedAt reads all samples of a Prometheus server before at.
func storedAt(t *testing.T, base string, at time.Time) map[string]map[int64]uint64 {
	t.Helper()
	form := url.Values{"query": {`{__name__=~".+"}[5h]`}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)}}
	res, err := http.PostForm(base+"/api/v1/query", form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(err, string(body))
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[int64]uint64{}
	for _, s := range answer.Data.Result {
		points := map[int64]uint64{}
		for _, p := range s.Values {
			v, err := strconv.ParseFloat(p[1].(string), 64)
			if err != nil {
				t.Fatal(err)
			}
			points[int64(math.Round(p[0].(float64)*1000))] = math.Float64bits(v)
		}
		out[labels.FromMap(s.Metric).String()] = points
	}
	return out
}

func receiver(t *testing.T) string {
	return startPrometheus(t, func(string) string {
		return "global: {scrape_interval: 1h}\nstorage: {tsdb: {out_of_order_time_window: 30m}}\n"
	}, "--web.enable-remote-write-receiver")
}

// TestAnswersAsPrometheus sends the same requests, good and bad, to a
// Prometheus server and to our own: the same status each, and in the end the
// same samples. Where a 1.0 request has several faults Prometheus drops all of
// it, so those have one sample each; it answers 204 to wrong labels there.
func TestAnswersAsPrometheus(t *testing.T) {
	_, rnd := need.Seed(t)
	base, now := receiver(t), time.Now().Truncate(time.Second)
	peer := base + "/api/v1/write"
	r := newRig(t, tsdb.Options{}, remotewrite.Options{})
	codes := map[string]int{}
	compare := func(kind string, body []byte, what any) {
		want, theirs, _ := send(t, peer, kind, body)
		got, ours, text := send(t, r.url, kind, body)
		if kind == "" && got == http.StatusBadRequest && want == http.StatusNoContent && badLabels(what) {
			codes["1.0 wrong labels"]++
			return
		}
		codes[fmt.Sprint(kind == typeV2, want)]++
		if got != want {
			t.Errorf("%q %+v: %d, Prometheus %d: %s", kind, what, got, want, text)
		}
		for _, name := range []string{"Samples", "Histograms", "Exemplars"} {
			name = "X-Prometheus-Remote-Write-" + name + "-Written"
			if ours.Get(name) != theirs.Get(name) {
				t.Errorf("%q %+v: header %s: %q, Prometheus %q", kind, what, name, ours.Get(name), theirs.Get(name))
			}
		}
	}
	first := series{labels: []string{"__name__", "first"}}
	first.samples = append(first.samples, sample(now, 1))
	compare("", pack(t, marshal(t, v1(first))), first)
	for range 400 {
		s := anySeries(rnd, now)
		s.samples = s.samples[:1]
		compare("", pack(t, marshal(t, v1(s))), s)
		list := make([]series, 1+rnd.IntN(4))
		for i := range list {
			list[i] = anySeries(rnd, now)
		}
		q := v2(list...)
		switch rnd.IntN(15) {
		case 0:
			q.Timeseries[0].LabelsRefs = []uint32{1000, 0}
		case 1:
			q.Timeseries[0].LabelsRefs = append(q.Timeseries[0].LabelsRefs, 1)
		case 2:
			q.Timeseries[0].Metadata.HelpRef = 1000
		case 3:
			q.Timeseries[0].Samples = nil
		}
		body := marshal(t, q)
		if rnd.IntN(15) == 0 {
			body = body[:rnd.IntN(len(body))+1]
		}
		packed := pack(t, body)
		if rnd.IntN(15) == 0 {
			packed = packed[:rnd.IntN(len(packed))]
		}
		compare(typeV2, packed, list)
	}
	for _, kind := range []string{"text/plain", "application/x-protobuf;proto=x", "application/x-protobuf;proto", "application/json"} {
		compare(kind, []byte{0}, kind)
		compare(kind, []byte{1, 2, 3, 4, 5}, kind)
	}
	t.Log(codes)
	if diff := cmp.Diff(storedAt(t, base, now.Add(time.Minute)), r.stored(t)); diff != "" {
		t.Errorf("stored (-Prometheus +ours):\n%s", diff)
	}
}

// badLabels says whether a series' labels are wrong.
func badLabels(what any) bool {
	s, is := what.(series)
	seen := map[string]bool{}
	for i := 0; is && i < len(s.labels); i += 2 {
		if name := s.labels[i]; name == "" || seen[name] || !utf8.ValidString(s.labels[i+1]) {
			return true
		}
		seen[s.labels[i]] = true
	}
	return is && !seen["__name__"]
}

const gaugeOfGoroutines = "gauge|Number of goroutines that currently exist.|"

// TestPrometheusSends lets a Prometheus server scrape itself and write what it
// scraped to us by either protocol: all of it arrives, and what it says of the
// metrics.
func TestPrometheusSends(t *testing.T) {
	for _, message := range []string{"prometheus.WriteRequest", "io.prometheus.write.v2.Request"} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tsdb.Options{}, remotewrite.Options{})
			base := startPrometheus(t, func(addr string) string {
				return fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 400ms}
scrape_configs: [{job_name: self, static_configs: [{targets: [%q]}]}]
remote_write:
- url: %s
  protobuf_message: %s
  headers: {X-Sender: prometheus}
  metadata_config: {send: true, send_interval: 1s}
  queue_config: {batch_send_deadline: 200ms}
`, addr, r.url, message)
			})
			need.Until(t, "six scrapes have come", func() bool {
				return r.db.Source("prometheus").Stats().Appended.Appended > 6*500
			})
			at := time.Now().Add(-time.Second)
			want := storedAt(t, base, at)
			missing := ""
			need.Until(t, "all has come", func() bool {
				got := r.stored(t)
				missing = ""
				for name, points := range want {
					for ts, v := range points {
						if have, ok := got[name][ts]; !ok || have != v {
							missing = name
						}
					}
				}
				return missing == ""
			})
			st := r.db.Source("prometheus").Stats()
			if len(want) < 300 || st.Appended.Rejected() != 0 {
				t.Errorf("%d series at the sender; counted %+v", len(want), st)
			}
			if message == "prometheus.WriteRequest" { // by 2.0 this server says nothing of metrics
				need.Until(t, "what go_goroutines is has come", func() bool { return r.known("go_goroutines") == gaugeOfGoroutines })
			}
			t.Logf("%d series, %d samples", len(want), st.Appended.Appended)
		})
	}
}
