package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nocturne/internal/lab"
	"nocturne/internal/need"
	"nocturne/internal/secret"
)

// bench holds what the figures of docs/benchmarks.md are taken with: the
// stripped binary, as a process of its own, on the demo's hall, which this
// process simulates so that its memory does not count.
type bench struct {
	t     *testing.T
	lab   *lab.Lab
	hook  *receiver
	dir   string
	bin   string
	login cookie
	rows  [][3]string // what, figure, target
}

// TestBench prints the figures as a table. Where a target is missed it says
// so and fails. NOCTURNE_BENCH_WATCH is how long live series are watched (2m);
// their window is full after 15m.
func TestBench(t *testing.T) {
	if os.Getenv("NOCTURNE_BENCH") != "1" {
		t.Skip("figures are taken with NOCTURNE_BENCH=1 (make bench)")
	}
	b := newBench(t)
	b.binary()
	b.hour()
	b.cold()
	p := b.start()
	b.idle(p)
	b.loops()
	b.watched(p)
	p.stop()
	b.table()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	seed, _ := need.Seed(t)
	l, err := lab.New(lab.Options{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, lab: l, hook: newReceiver(t), dir: t.TempDir()}
	cfg := b.config()
	writeHallConfig(t, cfg, b.path("nocturne.yaml"))
	runLab(t, l)
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// config is the demo's.
func (b *bench) config() Config {
	b.t.Helper()
	cfg, err := demoConfig(b.lab, b.dir, b.path("data"), "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	cfg.Alerting.Webhooks = []WebhookConfig{{Name: "noc", URL: secret.Text(b.hook.url)}}
	return cfg
}

func (b *bench) row(what, target, format string, args ...any) {
	b.rows = append(b.rows, [3]string{what, fmt.Sprintf(format, args...), target})
	b.t.Logf("%s: "+format+" (%s)", append(append([]any{what}, args...), target)...)
}

func (b *bench) under(what string, got, limit float64) {
	b.t.Helper()
	if got >= limit {
		b.t.Errorf("%s is %.1f, which is not under %.0f", what, got, limit)
	}
}

const mb = 1e6

// binary builds as the Makefile does.
func (b *bench) binary() {
	b.bin = b.path("nocturne")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "gosnmp_nodebug", "-ldflags", "-s -w", "-o", b.bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("build: %v\n%s", err, out)
	}
	st, err := os.Stat(b.bin)
	if err != nil {
		b.t.Fatal(err)
	}
	b.row("stripped binary", "< 60 MB", "%.1f MB", float64(st.Size())/mb)
	b.under("the binary in MB", float64(st.Size())/mb, 60)
}

// start runs the binary and signs in where nobody has yet.
func (b *bench) start() *process {
	b.t.Helper()
	p, token := startProcess(b.t, exec.Command(b.bin, "serve", "--config", b.path("nocturne.yaml")), b.login.value == "")
	if b.login.value == "" {
		b.login = p.setup(token)
	}
	p.login = b.login
	return p
}

// cold times the start of the process to the whole first page, three times
// after an end in order and three times after kill -9.
func (b *bench) cold() {
	for how, end := range map[string]func(*process){"SIGTERM": (*process).stop, "kill -9": (*process).kill} {
		p := b.start()
		var took, worked []time.Duration
		for range 3 {
			end(p)
			var first time.Duration
			p, first = b.firstPage()
			took, worked = append(took, first), append(worked, p.worked())
		}
		p.stop()
		worst := slices.Max(took)
		b.row("cold start to the first page, after "+how, "< 1 s", "%v at most of 3 (%v of CPU)", worst.Round(time.Millisecond), slices.Max(worked).Round(10*time.Millisecond))
		b.under("cold start after "+how+" in ms", float64(worst.Milliseconds()), 1000)
	}
}

func (b *bench) firstPage() (*process, time.Duration) {
	t := b.t
	began := time.Now()
	p := b.start()
	req, err := http.NewRequest(http.MethodGet, p.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: b.login.name, Value: b.login.value})
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK || n < 1000 {
		t.Fatalf("the first page: %s, %d bytes, %v", resp.Status, n, err)
	}
	return p, time.Since(began)
}

// worked is the CPU time so far: what of a start is not waiting for a busy
// machine.
func (p *process) worked() time.Duration {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	// proc(5): utime and stime are fields 14 and 15, in hundredths; the name
	// in brackets is field 2.
	f := strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory is VmRSS, and how much of it is the process' own rather than files.
func (p *process) memory() (rss, own float64) {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmRSS:":
			rss = n * 1024 / mb
		case "RssAnon:":
			own = n * 1024 / mb
		}
	}
	return rss, own
}

// watch takes the memory each second for a while.
func (p *process) watch(d time.Duration) (rss, own []float64) {
	p.t.Helper()
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-end.C:
			return rss, own
		case <-tick.C:
			r, o := p.memory()
			rss, own = append(rss, r), append(own, o)
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// idle is a product that polls the hall with nobody looking.
func (b *bench) idle(p *process) {
	p.watch(time.Minute) // settle
	rss, own := p.watch(30 * time.Second)
	b.row("RSS idle", "< 150 MB", "%.0f MB median, %.0f MB at most (%.0f MB without files)", median(rss), slices.Max(rss), median(own))
	b.under("RSS idle in MB", slices.Max(rss), 150)
}

// loops times ten random faults, from the fault to the webhook being told of
// the end. They begin some seconds apart.
func (b *bench) loops() {
	_, r := need.Seed(b.t)
	began := map[victim]time.Time{}
	hosts := b.lab.Hosts()
	beat := time.NewTicker(3 * time.Second)
	defer beat.Stop()
	for _, i := range r.Perm(len(hosts))[:10] {
		v := victim{hosts[i].Name, hosts[i].Services[r.IntN(len(hosts[i].Services))]}
		if err := b.lab.StopService(v.host, v.unit); err != nil {
			b.t.Fatal(err)
		}
		began[v] = time.Now()
		<-beat.C
	}
	took := map[victim]float64{}
	eventually(b.t, 2*time.Minute, "every loop closes", func() bool {
		b.hook.any(func(status string, ls, _ map[string]string) bool {
			v := victim{ls["instance"], ls["name"]}
			if _, known := took[v]; status == "resolved" && !known && !began[v].IsZero() {
				took[v] = time.Since(began[v]).Seconds()
			}
			return false
		})
		return len(took) == len(began)
	})
	all := slices.Collect(maps.Values(took))
	b.row("fault to closed loop", "< 60 s", "%.1f s median, %.1f s at most of %d", median(all), slices.Max(all), len(all))
	b.under("the slowest loop in s", slices.Max(all), 60)
}

// watched opens streams of charts until the live window is full.
func (b *bench) watched(p *process) {
	limit := 2 * time.Minute
	if s := os.Getenv("NOCTURNE_BENCH_WATCH"); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil {
			b.t.Fatalf("NOCTURNE_BENCH_WATCH: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	streams, beat := 0, time.NewTicker(1500*time.Millisecond)
	defer beat.Stop()
	for _, item := range b.drawn() {
		if p.full() {
			break
		}
		b.stream(ctx, p, item)
		streams++
		<-beat.C
	}
	if !p.full() {
		b.t.Errorf("%d streams do not fill the live window", streams)
	}
	rss, own := p.watch(limit)
	b.row("RSS while 500 live series are watched", "< 200 MB", "%.0f MB median, %.0f MB at most in %v (%.0f MB without files), %d streams", median(rss), slices.Max(rss), limit, median(own), streams)
	b.under("RSS watched in MB", slices.Max(rss), 200)
}

// drawn are the items with charts.
func (b *bench) drawn() []string {
	var out []string
	for _, h := range b.lab.Hosts() {
		out = append(out, "host/"+h.Name)
	}
	for _, a := range b.lab.Agents() {
		out = append(out, "device/"+a.Name)
	}
	return out
}

func (b *bench) stream(ctx context.Context, p *process, item string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/live?topics="+url.QueryEscape("chart:"+item), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: b.login.name, Value: b.login.value})
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("watch %s: %v, %v", item, resp, err)
	}
	go func() {
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
	}()
}

// full tells whether the live window refused or evicted a series.
func (p *process) full() bool {
	resp, err := p.client.Get(p.url + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		name, value, _ := strings.Cut(sc.Text(), " ")
		if (name == `nocturne_tsdb_live_points_refused_total{reason="series_cap"}` || name == "nocturne_tsdb_live_keys_evicted_total") && value != "0" {
			return true
		}
	}
	return false
}

// table prints what docs/benchmarks.md takes over.
func (b *bench) table() {
	model := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
			}
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		b.t.Fatal(err)
	}
	fmt.Printf("\n%s, %d cores, %s %s/%s, load average at the end %s\n| what | figure | target |\n|---|---|---|\n", model, runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, load)
	for _, r := range b.rows {
		fmt.Printf("| %s | %s | %s |\n", r[0], r[1], r[2])
	}
}
