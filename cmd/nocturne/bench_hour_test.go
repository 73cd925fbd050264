package main

import (
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"

	"nocturne/tsdb"
)

// hourStep is the demo's interval.
const hourStep = 5 * time.Second

// hour makes an hour of the demo's data: the product runs until it has seen
// every target, then each series that it has is written anew, every 5 s of the
// hour up to now, counters growing as they did, gauges wavering by a percent.
func (b *bench) hour() {
	t := b.t
	p := b.start()
	eventually(t, time.Minute, "every target is seen", func() bool {
		var answer struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if err := p.get("/api/v1/query?query="+url.QueryEscape("count(up == 1)"), &answer); err != nil || len(answer.Data.Result) == 0 {
			return false
		}
		n, err := strconv.Atoi(fmt.Sprint(answer.Data.Result[0].Value[1]))
		return err == nil && n == len(b.lab.Agents())+len(b.lab.Hosts())+3 // this machine, this program and the cloud
	})
	p.stop()
	history := b.path("data/history")
	last := lastOf(t, history)
	if err := os.RemoveAll(history); err != nil {
		t.Fatal(err)
	}
	db := openHistory(t, history)
	began, samples := time.Now(), make([]tsdb.Sample, len(last))
	for back := time.Hour; back > 0; back -= hourStep {
		at := time.Now().Add(-back).UnixMilli()
		for i, s := range last {
			samples[i] = tsdb.Sample{Labels: s.Metric, T: at, V: past(s, back, i)}
		}
		if _, err := db.Append(t.Context(), samples); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 2*time.Minute, "the first block is cut", func() bool { return db.Stats().Blocks > 0 })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b.row("data", "", "%d series, 1 h at 5 s: %.1f million samples, %.0f MB on disk (made in %v)", len(last),
		float64(len(last))*720/1e6, float64(size(t, b.path("data")))/mb, time.Since(began).Round(time.Second))
}

func openHistory(t *testing.T, dir string) *tsdb.DB {
	t.Helper()
	db, err := tsdb.Open(tsdb.Options{Dir: dir, Interval: hourStep, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// lastOf is the newest sample of each series.
func lastOf(t *testing.T, dir string) promql.Vector {
	t.Helper()
	db := openHistory(t, dir)
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := db.Query(t.Context(), `{__name__=~".+"}`, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r.Value.(promql.Vector)
}

// past is what a series may have shown some time ago.
func past(s promql.Sample, back time.Duration, i int) float64 {
	name := s.Metric.Get(model.MetricNameLabel)
	switch {
	case strings.HasSuffix(name, "_total"), strings.HasPrefix(name, "ifHC"), strings.HasSuffix(name, "Octets"), strings.HasSuffix(name, "Pkts"):
		return math.Floor(s.F) + float64(1000+i%1000)*(3600-back.Seconds())
	case s.F == math.Trunc(s.F) && math.Abs(s.F) < 1000: // states, flags, speeds
		return s.F
	}
	return s.F * (1 + 0.01*math.Sin(back.Seconds()/60+float64(i)))
}

func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err == nil {
			n += st.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
