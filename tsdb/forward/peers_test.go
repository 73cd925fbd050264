package forward_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// peer is a real receiver that can be killed and started again.
type peer struct {
	name, write, addr string
	command           []string
	ready             string
	read              func(t testing.TB, p *peer) map[key]float64
	rounding          float64   // of a value, relative
	end               os.Signal // the harshest that leaves what it has acknowledged
	cmd               *exec.Cmd
	stopped           sync.WaitGroup
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// prometheus takes samples up to twelve hours late.
func prometheus(t testing.TB) *peer {
	dir, addr := t.TempDir(), freePort(t)
	conf := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(conf, []byte("storage: {tsdb: {out_of_order_time_window: 12h}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &peer{
		name: "prometheus", addr: addr, write: "http://" + addr + "/api/v1/write", ready: "/-/ready", read: readPrometheus, end: syscall.SIGKILL,
		command: []string{
			need.Prometheus(t), "--config.file", conf, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", addr,
			"--web.enable-remote-write-receiver", "--log.level=error", "--query.max-samples=100000000",
		},
	}
}

// victoria rounds values to what its decimals hold, and acknowledges samples
// that are on disk seconds later.
func victoria(t testing.TB) *peer {
	dir, addr := t.TempDir(), freePort(t)
	return &peer{
		name: "victoria", addr: addr, write: "http://" + addr + "/api/v1/write", ready: "/health", read: readVictoria, rounding: 1e-12, end: syscall.SIGINT,
		command: []string{
			need.Binary(t, "victoria-metrics", "victoria-metrics"), "-storageDataPath", filepath.Join(dir, "data"), "-httpListenAddr", addr,
			"-loggerLevel=ERROR", "-memory.allowedBytes=128MiB",
		},
	}
}

func (p *peer) start(t testing.TB) {
	t.Helper()
	p.cmd = exec.Command(p.command[0], p.command[1:]...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := p.cmd
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	need.Within(t, 30*time.Second, func() error {
		resp, err := http.Get("http://" + p.addr + p.ready)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s is not ready: %s", p.name, resp.Status)
		}
		return nil
	})
}

func (p *peer) stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(p.end); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

// stopAfter is stop a little later; stopped says when it is done.
func (p *peer) stopAfter(t testing.TB, d time.Duration) {
	p.stopped.Go(func() {
		time.Sleep(d)
		if err := p.cmd.Process.Signal(p.end); err != nil {
			t.Error(err)
		}
		_ = p.cmd.Wait()
	})
}

func get(t testing.TB, address string) io.ReadCloser {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s: %s", address, resp.Status, text)
	}
	return resp.Body
}

func readPrometheus(t testing.TB, p *peer) map[key]float64 {
	t.Helper()
	body := get(t, "http://"+p.addr+"/api/v1/query?query="+url.QueryEscape(`forwarded[12h]`))
	defer body.Close()
	var answer struct {
		Data struct {
			Result model.Matrix `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	out := map[key]float64{}
	for _, s := range answer.Data.Result {
		name := named(s.Metric)
		for _, v := range s.Values {
			out[key{name, int64(v.Timestamp)}] = float64(v.Value)
		}
	}
	return out
}

func readVictoria(t testing.TB, p *peer) map[key]float64 {
	t.Helper()
	get(t, "http://"+p.addr+"/internal/force_flush").Close()
	body := get(t, "http://"+p.addr+"/api/v1/export?match[]=forwarded")
	defer body.Close()
	out := map[key]float64{}
	lines := bufio.NewReader(body)
	for {
		text, err := lines.ReadBytes('\n')
		if len(text) == 0 && err != nil {
			return out
		}
		var s struct {
			Metric     model.Metric `json:"metric"`
			Values     []*float64   `json:"values"`
			Timestamps []int64      `json:"timestamps"`
		}
		// A marker that begins a series is exported as NaN, which is no JSON.
		if err := json.Unmarshal(bytes.ReplaceAll(text, []byte("NaN"), []byte("null")), &s); err != nil {
			t.Fatalf("%v: %.200s", err, text)
		}
		for i, v := range s.Values {
			if v != nil { // a staleness marker, which is not compared here
				out[key{named(s.Metric), s.Timestamps[i]}] = *v
			}
		}
	}
}

func named(m model.Metric) string {
	b := labels.NewScratchBuilder(len(m))
	for k, v := range m {
		b.Add(string(k), string(v))
	}
	b.Sort()
	return b.Labels().String()
}

// holds waits until the peer has just what was stored; markers are not
// compared, since no query of the peers shows them.
func (p *peer) holds(t testing.TB, want []tsdb.Sample, within time.Duration) {
	t.Helper()
	all := map[key]float64{}
	for _, s := range want {
		if !value.IsStaleNaN(s.V) {
			all[key{s.Labels.String(), s.T}] = s.V
		}
	}
	need.Within(t, within, func() error {
		got := p.read(t, p)
		for k, g := range got {
			if v, ok := all[k]; !ok || math.Abs(g-v) > p.rounding*math.Abs(v) {
				t.Fatalf("%s: %v is %g, want %g (stored: %t)", p.name, k, g, v, ok)
			}
		}
		var missing []key
		for _, s := range want {
			if k := (key{s.Labels.String(), s.T}); !value.IsStaleNaN(s.V) {
				if _, ok := got[k]; !ok {
					missing = append(missing, k)
				}
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("%s holds %d samples, %d are missing: %v", p.name, len(got), len(missing), missing[:min(5, len(missing))])
		}
		t.Logf("%s holds %d samples, markers not counted; %d were stored", p.name, len(got), len(want))
		return nil
	})
}
