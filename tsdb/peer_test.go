package tsdb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// startPeer runs a server and waits until path answers well. It returns the
// server's address.
func startPeer(t *testing.T, binary, path string, args func(addr string) []string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, args(addr)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() { cancel(); <-ended })
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := http.Get("http://" + addr + path)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "http://" + addr
			}
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", binary, said.Bytes())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			cancel()
			<-ended
			t.Fatalf("%s is not ready: %s", binary, said.Bytes())
		}
	}
}

// prometheusOn runs a Prometheus on a data folder.
func prometheusOn(t *testing.T, dir string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return startPeer(t, need.Prometheus(t), "/-/ready", func(addr string) []string {
		return []string{"--config.file=" + config, "--storage.tsdb.path=" + dir, "--web.listen-address=" + addr, "--storage.tsdb.retention.time=10y"}
	})
}

// pastSamples are counters, gauges and odd values of an hour that ended three
// hours ago, before anything that a buffer of two hours holds.
func pastSamples(r *rand.Rand, odd []float64) (out []tsdb.Sample, from, to time.Time) {
	to = time.Now().Add(-3 * time.Hour).Truncate(time.Minute)
	from = to.Add(-time.Hour)
	counters := map[string]float64{}
	for at := from; at.Before(to); at = at.Add(15 * time.Second) {
		for i := range 4 {
			job := fmt.Sprint("leaf", i)
			for _, name := range []string{"octets", "temperature", "odd"} {
				if r.IntN(15) == 0 {
					continue // a missed poll
				}
				v := float64(r.IntN(1000)) / 8
				switch name {
				case "octets":
					counters[job] += v
					if r.IntN(60) == 0 {
						counters[job] = 0
					}
					v = counters[job]
				case "odd":
					v = odd[r.IntN(len(odd))]
				}
				ls := labels.FromStrings("__name__", name, "instance", job, "rack", fmt.Sprint("r", i%2), "text", "Zü\"\\\n")
				out = append(out, tsdb.Sample{Labels: ls, T: at.UnixMilli() + int64(r.IntN(900)), V: v})
			}
		}
	}
	return out, from, to
}

// randomExpr is PromQL that has one answer to the bit. Both the engine and
// VictoriaMetrics understand it alike when plain is set.
func randomExpr(r *rand.Rand, plain bool) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	name := pick("octets", "temperature", "odd")
	sel := name + pick("", `{instance="leaf1"}`, `{instance=~"leaf[0-2]"}`, `{rack!="r0"}`, `{nothing="here"}`)
	if plain {
		return pick(sel+pick("", " * 2", " > 50"), "sum("+sel+")", "max by (rack) ("+sel+")", "count("+sel+")", "max_over_time("+sel+"[10m])", "count_over_time("+sel+"[5m])")
	}
	offset := pick("", "", " offset 7m", " offset -3m")
	window := pick("1m", "5m", "17m")
	e := pick(sel+offset, sel+offset, "rate("+sel+"["+window+"]"+offset+")", "increase("+sel+"["+window+"])",
		pick("avg", "min", "max", "sum", "count", "last", "stddev", "present", "quantile")+"_over_time("+sel+"["+window+"])",
		"max_over_time("+sel+"[20m:1m])", "timestamp("+sel+")", "changes("+sel+"["+window+"])", "absent("+sel+")", "-"+sel)
	e = strings.ReplaceAll(e, "quantile_over_time(", "quantile_over_time(0.9, ")
	// In a range the engine hands on what a function made of an instant vector
	// in the order of a Go map, another at each asking (rangeEval in promql):
	// the last bit of a sum, and which of two equals is in the top, depend on it.
	over, top := []string{"max", "min", "count", "group", "sum", "avg", "stddev"}, "topk(2, "+e+")"
	if strings.HasPrefix(e, "timestamp(") {
		over, top = over[:4], e
	}
	e = pick(e, e, pick(over...)+pick("", " by (rack)", " without (instance)")+" ("+e+")", top, "sort_desc("+e+")", "scalar("+e+")",
		"quantile(2, "+e+")", e+" > bool 1", e+" / on (instance) temperature", e+" or vector(1)", `label_replace(`+e+`, "x", "$1", "instance", "leaf(.)")`)
	return e
}

// direct asks a server without any code of ours and returns its answer in the
// form that spelled has.
func direct(t *testing.T, base, path string, form url.Values) []string {
	t.Helper()
	resp, err := http.PostForm(base+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     json.RawMessage
		}
		Warnings, Infos []string
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.Status != "success" {
		return []string{"error"}
	}
	out := []string{a.Data.ResultType, fmt.Sprint(len(a.Warnings), len(a.Infos))}
	pair := func(p []any) string {
		v, err := strconv.ParseFloat(p[1].(string), 64)
		if err != nil {
			t.Fatal(err)
		}
		return bits(int64(math.Round(p[0].(float64)*1000)), v)
	}
	if a.Data.ResultType == "scalar" {
		var p []any
		if err := json.Unmarshal(a.Data.Result, &p); err != nil {
			t.Fatal(err)
		}
		return append(out, pair(p))
	}
	var list []struct {
		Metric map[string]string
		Value  []any
		Values [][]any
	}
	if err := json.Unmarshal(a.Data.Result, &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		var line strings.Builder
		line.WriteString(labels.FromMap(e.Metric).String())
		for _, p := range e.Values {
			line.WriteString(pair(p))
		}
		if e.Value != nil {
			line.WriteString(pair(e.Value))
		}
		out = append(out, line.String())
	}
	return out
}

func bits(t int64, v float64) string {
	if math.IsNaN(v) {
		v = math.NaN() // of a NaN's bits JSON keeps none
	}
	return fmt.Sprintf(" %d:%x", t, math.Float64bits(v))
}

// spelled is an answer of DB as direct gives the server's.
func spelled(res *promql.Result, err error) []string {
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return []string{"error"}
	}
	w, i := res.Warnings.CountWarningsAndInfo()
	out := []string{string(res.Value.Type()), fmt.Sprint(w, i)}
	switch v := res.Value.(type) {
	case promql.Scalar:
		out = append(out, bits(v.T, v.V))
	case promql.Vector:
		for _, s := range v {
			out = append(out, s.Metric.String()+bits(s.T, s.F))
		}
	case promql.Matrix:
		for _, s := range v {
			var line strings.Builder
			line.WriteString(s.Metric.String())
			for _, p := range s.Floats {
				line.WriteString(bits(p.T, p.F))
			}
			out = append(out, line.String())
		}
	}
	return out
}

func openRemote(t *testing.T, r tsdb.Remote) *tsdb.DB {
	t.Helper()
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Remote: &r})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// compareRemote asks the same random questions directly and through a DB, each
// once. It returns how many answers held something.
func compareRemote(t *testing.T, r *rand.Rand, base string, db *tsdb.DB, from, to time.Time, plain bool, n int) (full int) {
	t.Helper()
	stamp := func(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }
	for range n {
		expr := randomExpr(r, plain)
		at := from.Add(time.Duration(r.Int64N(int64(to.Sub(from))))).Truncate(time.Millisecond)
		step := time.Duration(1+r.IntN(600)) * time.Second
		var got []string
		path := "/api/v1/query"
		form := url.Values{"query": {expr}}
		if plain { // else VictoriaMetrics guesses how old a sample may be from the step
			form.Set("max_lookback", "5m")
		}
		if r.IntN(2) == 0 {
			form.Set("time", stamp(at))
			got = spelled(db.Query(t.Context(), expr, at))
		} else {
			end := at.Add(time.Duration(r.IntN(60)) * time.Minute)
			form.Set("start", stamp(at))
			form.Set("end", stamp(end))
			form.Set("step", fmt.Sprint(step.Seconds()))
			path = "/api/v1/query_range"
			got = spelled(db.QueryRange(t.Context(), expr, at, end, step))
		}
		if plain && len(got) > 2 {
			slices.Sort(got[2:])
		}
		want := direct(t, base, path, form)
		if plain && len(want) > 2 {
			slices.Sort(want[2:]) // VictoriaMetrics orders by its own ideas
		}
		if !slices.Equal(want, got) {
			t.Errorf("%s at %s:\n asked directly %q\n through the DB %q", expr, at, want, got)
		}
		if len(want) > 2 {
			full++
		}
	}
	return full
}
