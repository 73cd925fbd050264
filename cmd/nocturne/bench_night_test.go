package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	library "github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/inventory"
	"nocturne/internal/need"
	"nocturne/internal/state"
	"nocturne/internal/upgrade"
	"nocturne/tsdb"
	"nocturne/tsdb/folder"
)

// The estate of TestBenchNight: devices of fifty series, raw samples every half
// hour for thirty days and every 30 s for the last three hours.
const (
	nightDevices = 2000
	nightItems   = 10_000
	nightDays    = 30
	nightLate    = 3 * time.Hour
	perDevice    = 50
)

// libraryOf has this test's binary open a history with the bare library, and
// keep it open.
const libraryOf = "NOCTURNE_TEST_LIBRARY"

// TestBenchNight takes the figures of a large estate in production: how long it
// takes to start, to back up, to restore, to upgrade, and what it costs to idle.
func TestBenchNight(t *testing.T) {
	if os.Getenv("NOCTURNE_BENCH_NIGHT") != "1" {
		t.Skip("figures are taken with NOCTURNE_BENCH_NIGHT=1 (make bench-night)")
	}
	need.Seed(t)
	b := &bench{t: t, dir: t.TempDir()}
	b.binary()
	text := fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\nlog: {level: warn}\ncollector: {interval: 30s}\n", b.path("data"))
	if err := os.WriteFile(b.path("nocturne.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.fill()
	p := b.night()
	b.alone(p)
	b.backedUp(p)
	p.stop()
	b.restored()
	b.upgraded()
	b.table()
}

// fill makes the history and the inventory.
func (b *bench) fill() {
	t := b.t
	began := time.Now()
	db, err := tsdb.Open(tsdb.Options{Dir: b.path("data/history"), Interval: 30 * time.Second, Retention: 60 * 24 * time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	batch := make([]tsdb.Sample, 0, nightDevices*perDevice)
	for d := range nightDevices {
		for n := range perDevice {
			batch = append(batch, tsdb.Sample{Labels: labels.FromStrings("__name__", fmt.Sprintf("if_metric_%d_total", n%10), "job", "snmp",
				"instance", fmt.Sprintf("dev-%04d", d), "ifName", fmt.Sprintf("Ethernet1/%d", n/10), "site", fmt.Sprint("dc", d%4), "rack", fmt.Sprintf("r%03d", d/20))})
		}
	}
	samples := 0
	now := time.Now().Truncate(time.Minute)
	step := 30 * time.Minute
	for at := now.Add(-nightDays * 24 * time.Hour); at.Before(now); at = at.Add(step) {
		if !at.Before(now.Add(-nightLate)) {
			step = 30 * time.Second
		}
		ms := at.UnixMilli()
		for i := range batch {
			batch[i].T, batch[i].V = ms, math.Floor(float64(ms/1000)*float64(1+i%97)/7)
		}
		for part := range slices.Chunk(batch, 10_000) {
			if r, err := db.Append(t.Context(), part); err != nil || r.Appended != len(part) {
				t.Fatalf("append at %s: %+v, %v", at, r, err)
			}
		}
		samples += len(batch)
		// The head is cut as it would be in the time that the samples stand for.
		eventually(t, 10*time.Minute, "samples older than half a day are in blocks", func() bool {
			written, err := folder.Written(b.path("data/history"))
			return err == nil && (written > ms-(12*time.Hour).Milliseconds() || at.Before(now.Add(-nightDays*24*time.Hour+12*time.Hour)))
		})
	}
	eventually(t, 10*time.Minute, "old samples are in blocks", func() bool {
		written, err := folder.Written(b.path("data/history"))
		return err == nil && written > now.Add(-2*nightLate).UnixMilli()
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(b.bin, "tsdb", "rollup", "--config", b.path("nocturne.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("rollup: %v\n%s", err, out)
	}
	debug.FreeOSMemory() // the processes that are measured need it
	b.items()
	b.row("data", "", "%d series over %d days, %d million samples, %d items, %.0f MB on disk (made in %v)", len(batch), nightDays, samples/1e6, nightItems,
		float64(size(t, b.path("data")))/mb, time.Since(began).Round(time.Second))
}

// items makes the devices of five hundred racks.
func (b *bench) items() {
	t := b.t
	var y strings.Builder
	y.WriteString("sites:\n- name: dc\n  rooms:\n  - name: hall\n    racks:\n")
	for r := range nightItems / 20 {
		fmt.Fprintf(&y, "    - name: r%03d\n      contents:\n", r)
		for u := range 20 {
			fmt.Fprintf(&y, "      - {kind: device, name: dev-%04d, u: %d}\n", r*20+u, u+1)
		}
	}
	db, err := state.Open(state.Options{Dir: b.path("data/state"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	graph, err := inventory.Open(db)
	if err == nil {
		_, err = graph.ImportYAML(t.Context(), "night.yaml", []byte(y.String()), "system")
	}
	if err == nil {
		err = db.Close()
	}
	if err == nil {
		err = upgrade.Put(b.path("data"), upgrade.Current, "bench")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// night times starts, and leaves the product running.
func (b *bench) night() *process {
	p := b.start()
	for how, end := range map[string]func(*process){"SIGTERM": (*process).stop, "kill -9": (*process).kill} {
		var took []time.Duration
		for range 3 {
			end(p)
			var first time.Duration
			p, first = b.firstPage()
			took = append(took, first)
		}
		worst := slices.Max(took)
		b.row("start to the first page, after "+how, "< 5 s", "%v at most of 3", worst.Round(time.Millisecond))
		b.under("start after "+how+" in s", worst.Seconds(), 5)
	}
	return p
}

// alone holds the idle product against the library with the same history.
func (b *bench) alone(p *process) {
	t := b.t
	p.watch(2 * time.Minute) // settle
	rss, own := p.watch(30 * time.Second)
	dir := b.path("alone")
	if out, err := exec.Command("cp", "-r", b.path("data/history"), dir).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), libraryOf+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lib := &process{t: t, cmd: cmd}
	if _, err := io.ReadFull(out, make([]byte, len(libraryOpen))); err != nil {
		t.Fatalf("the library does not open: %v", err)
	}
	lib.watch(2 * time.Minute)
	libRSS, libOwn := lib.watch(30 * time.Second)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	ratio := median(rss) / median(libRSS)
	b.row("RSS idle, of the bare library's with the same history", "<= 1.3", "%.2f: %.0f MB (%.0f MB without files), the library %.0f MB (%.0f MB)", ratio, median(rss), median(own), median(libRSS), median(libOwn))
	b.under("RSS idle of the library's", ratio, 1.3000001)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

const libraryOpen = "open\n"

// bareLibrary opens a history as Prometheus does, and waits for its end.
func bareLibrary(dir string) int {
	o := library.DefaultOptions()
	o.RetentionDuration = (60 * 24 * time.Hour).Milliseconds()
	o.OutOfOrderTimeWindow = (30 * time.Minute).Milliseconds()
	if _, err := library.Open(dir, slog.New(slog.DiscardHandler), nil, o, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print(libraryOpen)
	select {}
}

// pages asks a page after another until stop is closed, and returns how long
// each took.
func (p *process) pages(stop <-chan struct{}) (took []time.Duration) {
	paths := []string{"/", "/devices", "/racks", "/inventory", "/alerts", "/admin/history", "/api/v1/query?query=sum(rate(if_metric_1_total[5m]))"}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return took
		default:
		}
		began := time.Now()
		req, err := http.NewRequest(http.MethodGet, p.url+paths[n%len(paths)], nil)
		if err != nil {
			p.t.Fatal(err)
		}
		req.AddCookie(&http.Cookie{Name: p.login.name, Value: p.login.value})
		resp, err := p.client.Do(req)
		if err != nil {
			p.t.Errorf("%v", err)
			return took
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			p.t.Errorf("%s: %s, %v", req.URL, resp.Status, err)
		}
		_ = resp.Body.Close()
		took = append(took, time.Since(began))
		time.Sleep(20 * time.Millisecond) // a person, not a load
	}
}

func p99(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)*99/100]
}

// during runs f while pages are asked.
func (p *process) during(f func()) []time.Duration {
	stop, took := make(chan struct{}), make(chan []time.Duration)
	go func() { took <- p.pages(stop) }()
	f()
	close(stop)
	return <-took
}

// backedUp backs up to a folder on the same disk, beside a plain copy, while
// pages are asked.
func (b *bench) backedUp(p *process) {
	t := b.t
	before := p.during(func() { p.watch(30 * time.Second) })
	token := p.token("backup", "administrator")
	if err := os.WriteFile(b.path("token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	var made madeBackup
	meanwhile := p.during(func() {
		out, err := exec.Command(b.bin, "backup", "--config", b.path("nocturne.yaml"), "--server", p.url, "--token-file", b.path("token"), "--to", b.path("copies"), "--json").Output()
		if err == nil {
			err = json.Unmarshal(out, &made)
		}
		if err != nil {
			t.Fatalf("backup: %v\n%s", err, out)
		}
	})
	began := time.Now()
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("cp -r '%s' '%s' && sync -f '%[2]s'", b.path("data/history"), b.path("plain"))).CombinedOutput(); err != nil {
		t.Fatalf("plain copy: %v\n%s", err, out)
	}
	plain := float64(size(t, b.path("plain"))) / mb / time.Since(began).Seconds()
	rate := float64(made.CopiedBytes) / mb / made.Seconds
	b.row("backup, written and read back", ">= 100 MB/s or the disk's", "%.0f MB/s (%.0f MB in %.1f s); a plain synced copy %.0f MB/s", rate, float64(made.CopiedBytes)/mb, made.Seconds, plain)
	if rate < 100 && rate < plain {
		t.Errorf("the backup makes %.0f MB/s, a copy %.0f", rate, plain)
	}
	ratio := float64(p99(meanwhile)) / float64(p99(before))
	b.row("p99 of page times during the backup, of that before", "<= 2", "%.2f: %v of %d pages, before %v of %d", ratio, p99(meanwhile).Round(time.Millisecond), len(meanwhile), p99(before).Round(time.Millisecond), len(before))
	b.under("p99 during the backup", ratio, 2.0000001)
	if err := os.RemoveAll(b.path("plain")); err != nil {
		t.Fatal(err)
	}
}

// restored restores the backup and opens it.
func (b *bench) restored() {
	t := b.t
	began := time.Now()
	if out, err := exec.Command(b.bin, "restore", "--from", b.path("copies"), "--data", b.path("restored")).CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	took := time.Since(began)
	bytes := float64(size(t, b.path("restored"))) / mb
	key, err := os.ReadFile(b.path("data/master.key"))
	if err == nil {
		err = os.WriteFile(b.path("restored/master.key"), key, 0o600)
	}
	if err == nil {
		err = os.Rename(b.path("data"), b.path("original"))
	}
	if err == nil {
		err = os.Rename(b.path("restored"), b.path("data"))
	}
	if err != nil {
		t.Fatal(err)
	}
	p, opened := b.firstPage()
	p.stop()
	rate := bytes / (took + opened).Seconds()
	b.row("restore and open", ">= 80 MB/s", "%.0f MB/s (%.0f MB in %v, opened in %v)", rate, bytes, took.Round(time.Millisecond), opened.Round(time.Millisecond))
	if rate < 80 {
		t.Errorf("restore and open make %.0f MB/s", rate)
	}
}

// upgraded starts on the same data as the format before.
func (b *bench) upgraded() {
	if err := os.Remove(filepath.Join(b.path("data"), "format")); err != nil {
		b.t.Fatal(err)
	}
	p, first := b.firstPage()
	m, _, err := upgrade.Read(b.path("data"))
	if err != nil || m.Format != upgrade.Current || m.Previous == nil {
		b.t.Fatalf("it was not upgraded: %+v, %v", m, err)
	}
	p.stop()
	b.row("start with the upgrade from the previous format", "< 60 s", "%v", first.Round(time.Millisecond))
	b.under("upgrade in s", first.Seconds(), 60)
}

// token makes an API token.
func (p *process) token(name, role string) string {
	p.t.Helper()
	var made struct{ Token string }
	p.post(p.t, "/api/nocturne/v1/tokens", map[string]any{"name": name, "role": role}, &made)
	if made.Token == "" {
		p.t.Fatal("no token")
	}
	return made.Token
}
