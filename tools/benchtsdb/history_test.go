package benchtsdb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	libtsdb "github.com/prometheus/prometheus/tsdb"
)

const (
	// oldBlock is the longest block that two-hour blocks grow to within 31
	// days, by three in each step.
	oldBlock = 486 * time.Hour
	yearly   = 5 // series that have a year of samples
)

// benchHistory asks the product and Prometheus about old samples: a thousand
// series over 30 days and one over a year. Both have the same blocks, which
// the library wrote; the product has rolled them up as well.
func benchHistory(t *testing.T, out *section) {
	var series, days int
	if _, err := fmt.Sscanf(textOr("NOCTURNE_BENCH_HISTORY", "1000x30"), "%dx%d", &series, &days); err != nil || series < 1 || days < 1 {
		t.Fatalf("NOCTURNE_BENCH_HISTORY: %q is not like 1000x30: %v", os.Getenv("NOCTURNE_BENCH_HISTORY"), err)
	}
	blocks, end := oldBlocks(t, series, days)
	pair := []*server{newNocturne(t), newPrometheus(t)}
	for _, s := range pair {
		if err := os.CopyFS(s.history, os.DirFS(blocks)); err != nil {
			t.Fatal(err)
		}
	}
	ready := rollUp(t, pair[0])
	for _, s := range pair {
		s.start("count(count_over_time(room_temperature[1h]))", end)
	}
	if !ready {
		rolledUp(t, pair[0])
	}
	for _, s := range pair {
		s.quiet(time.Minute)
	}
	span := time.Duration(days) * 24 * time.Hour
	what := fmt.Sprintf("%d series over %d days at 1 h step: ", series, days)
	for _, q := range []struct {
		query string
		same  bool // to the last bit
	}{
		{"max_over_time(port_octets_total[1h])", true},
		{"avg_over_time(port_octets_total[1h])", false},
		{"rate(port_octets_total[2h])", false},
		{"sum by (site) (rate(port_octets_total[2h]))", false},
	} {
		figures := ask(t, pair, q.query, q.same, end.Add(-span), end, time.Hour)
		out.compare(t, row{What: what + "`" + q.query + "`", Unit: "ms", Target: atMost(0.1), Figures: figures})
	}
	for _, q := range []string{`max_over_time(room_temperature{room="3"}[6h])`, `avg_over_time(room_temperature{room="3"}[6h])`} {
		figures := ask(t, pair, q, false, end.Add(-364*24*time.Hour), end, 6*time.Hour)
		out.compare(t, row{What: "one series over a year: `" + q + "`", Unit: "ms", Digits: 1, Target: ownAtMost(20, "< 20 ms"), Figures: figures})
	}
}

// rollUp runs the product's tool over its blocks before it serves, and says
// whether that was done.
func rollUp(t *testing.T, s *server) bool {
	t.Helper()
	began := time.Now()
	cmd := exec.CommandContext(t.Context(), s.args[0], "tsdb", "rollup", "--config", filepath.Join(s.dir, "nocturne.yaml"))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Logf("roll up beforehand: %v: %.500s", err, text)
		return false
	}
	t.Logf("rolling up takes %v of CPU, %v in all", cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), time.Since(began).Round(time.Millisecond))
	return true
}

// rolledUp waits for the product's own rolling up, which begins within a
// minute or two: until what it keeps has not grown for some time after that.
func rolledUp(t *testing.T, s *server) {
	t.Helper()
	const first, still = 70 * time.Second, 20 * time.Second
	began, changed, last := time.Now(), time.Now(), int64(-1)
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for ; time.Since(began) < first || time.Since(changed) < still; <-beat.C {
		if time.Since(began) > 15*time.Minute {
			t.Fatal("rolling up does not come to an end in a quarter of an hour")
		}
		// A file that goes while it is weighed is a change as well.
		if n, err := weight(s.history); err != nil || n != last {
			changed, last = time.Now(), n
		}
	}
	t.Logf("rolled up after %v, %v of CPU", changed.Sub(began).Round(time.Second), s.cpu())
}

// ask times a range query on each server in turn, once to warm up and then
// three rounds, in milliseconds until the whole body is read.
func ask(t *testing.T, pair []*server, query string, same bool, from, to time.Time, step time.Duration) []figure {
	t.Helper()
	v := url.Values{"query": {query}, "start": {fmt.Sprint(from.Unix())}, "end": {fmt.Sprint(to.Unix())}, "step": {fmt.Sprint(step.Seconds())}}
	took := make([][]float64, len(pair))
	var answers [2][]string
	for round := range rounds + 1 {
		order := []int{0, 1}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, n := range order {
			began := time.Now()
			text, err := pair[n].get(queries, "/api/v1/query_range", v)
			d := time.Since(began)
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				answers[n] = sorted(t, text)
				continue
			}
			took[n] = append(took[n], d.Seconds()*1e3)
		}
	}
	if len(answers[0]) != len(answers[1]) {
		t.Errorf("%s: nocturne has %d series, Prometheus %d", query, len(answers[0]), len(answers[1]))
	} else if same && !slices.Equal(answers[0], answers[1]) {
		t.Errorf("%s: nocturne answers otherwise than Prometheus:\n%.2000s", query, gocmp.Diff(answers[1], answers[0]))
	}
	return []figure{spread(pair[0].name, took[0]), spread(pair[1].name, took[1])}
}

// oldBlocks returns a folder of blocks and the time of their last samples. It
// is written once and kept in the user's cache folder: a minute of work.
func oldBlocks(t *testing.T, series, days int) (string, time.Time) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "nocturne", fmt.Sprintf("bench-history-%dx%d", series, days))
	info, err := os.Stat(dir)
	if err == nil && time.Since(info.ModTime()) < 60*24*time.Hour {
		return dir, lastOf(t, dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	draft, err := os.MkdirTemp("", "bench-history")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(draft)
	end := time.Now().Truncate(2 * time.Hour)
	for from := end.Add(-365 * 24 * time.Hour).Truncate(oldBlock); from.Before(end); from = from.Add(oldBlock) {
		to := from.Add(oldBlock)
		if to.After(end) {
			to = end
		}
		if err := writeOldBlock(draft, series, from, to, end.Add(-time.Duration(days)*24*time.Hour)); err != nil {
			t.Fatalf("write a block of old samples: %v", err)
		}
		t.Logf("%s: a block of old samples is written", from.UTC().Format(time.DateOnly))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(draft)); err != nil {
		t.Fatal(err)
	}
	return dir, lastOf(t, dir)
}

// writeOldBlock writes [from, to): a few rooms all along, ports since a time.
func writeOldBlock(dir string, series int, from, to, since time.Time) (err error) {
	w, err := libtsdb.NewBlockWriter(quiet(), dir, oldBlock.Milliseconds())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	f := fleet{}
	for i := range yearly {
		f.labels = append(f.labels, labels.FromStrings("__name__", "room_temperature", "room", fmt.Sprint(i), "site", "dc0", "job", "snmp"))
	}
	for i := range series {
		f.labels = append(f.labels, labels.FromStrings("__name__", "port_octets_total", "job", "snmp", "instance", device(i/50), "site", fmt.Sprintf("dc%d", i/50%4),
			"rack", fmt.Sprintf("r%02d", i/200), "ifName", fmt.Sprintf("Ethernet1/%d", i%50+1)))
	}
	refs := make([]storage.SeriesRef, len(f.labels))
	ctx := context.Background()
	for now := from; now.Before(to); now = now.Add(interval) {
		app, k := w.Appender(ctx), int(now.Sub(since)/interval)
		for i, ls := range f.labels {
			kind := 9 // a gauge
			if i >= yearly {
				kind = 0 // a busy counter
				if now.Before(since) {
					break
				}
			}
			if refs[i], err = app.Append(refs[i], ls, now.UnixMilli(), f.value(i*len(metrics)+kind, k)); err != nil {
				return errors.Join(err, app.Rollback())
			}
		}
		if err := app.Commit(); err != nil {
			return err
		}
	}
	_, err = w.Flush(ctx)
	return err
}

// lastOf is the newest sample's time in a folder of blocks, to the interval.
func lastOf(t *testing.T, dir string) time.Time {
	t.Helper()
	db, err := libtsdb.OpenDBReadOnly(dir, "", quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all, err := db.Blocks()
	if err != nil || len(all) == 0 {
		t.Fatalf("blocks in %s: %d, %v", dir, len(all), err)
	}
	last := all[0].Meta().MaxTime
	for _, b := range all {
		last = max(last, b.Meta().MaxTime)
	}
	return time.UnixMilli(last).Truncate(time.Hour)
}
