package remotewrite_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/remotewrite"
)

const childDir = "NOCTURNE_REMOTEWRITE_CHILD_DIR"

// TestMain is a receiver that tests measure or kill, if it is asked to be.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	db, err := tsdb.Open(tsdb.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	h, err := remotewrite.New(remotewrite.Options{Begin: func(ctx context.Context, sender string) (remotewrite.Batch, error) {
		b, err := db.Source(sender).Begin(ctx)
		return batch{b}, err
	}})
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("http://" + l.Addr().String())
	go func() { panic(db.Run(context.Background())) }()
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.Serve(w, r, "bench") })))
}

// cpuOf reads the CPU time that a process has used (proc(5), fields 14, 15).
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+2:])
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// TestAgainstPeers sends 20,000 series of ten labels, 30 s apart, in requests
// of 2,000, as 1.0 and 2.0, to nocturne's handler, Prometheus and
// VictoriaMetrics, and reports samples per CPU second of the receiver.
func TestAgainstPeers(t *testing.T) {
	if os.Getenv("NOCTURNE_BENCH") != "1" {
		t.Skip("figures are taken with NOCTURNE_BENCH=1")
	}
	const count, each, steps = 20_000, 2000, 60
	start := time.Now().Add(-steps * 30 * time.Second)
	bodies := map[string][][]byte{}
	for kind, encode := range encoders {
		for step := range steps {
			at := start.Add(time.Duration(step) * 30 * time.Second)
			for from := 0; from < count; from += each {
				list := make([]series, each)
				for i := range list {
					n := from + i
					list[i] = series{[]string{"__name__", "node_cpu_seconds_total", "cpu", fmt.Sprint(n % 100), "env", "production", "instance", fmt.Sprint("host-", n/100),
						"job", "linux", "mode", "system", "os", "debian", "rack", fmt.Sprint("r", n/400), "site", "berlin", "team", "infrastructure"},
						[]prompb.Sample{sample(at, float64(n+step*7))}}
				}
				bodies[kind] = append(bodies[kind], pack(t, encode(t, list...)))
			}
		}
	}
	measure := func(name, kind, url string, pid int) {
		warm := count / each
		for _, b := range bodies[kind][:warm] {
			if code, _, text := send(t, url, kind, b); code != http.StatusNoContent {
				t.Fatal(name, code, text)
			}
		}
		before, began := cpuOf(t, pid), time.Now()
		for _, b := range bodies[kind][warm:] {
			if code, _, text := send(t, url, kind, b); code != http.StatusNoContent {
				t.Fatal(name, code, text)
			}
		}
		took := cpuOf(t, pid) - before
		t.Logf("%-16s %-4s %9.0f samples per CPU second (%v of CPU in %v)", name, map[string]string{"": "1.0", typeV2: "2.0"}[kind],
			float64((steps-1)*count)/took.Seconds(), took, time.Since(began).Round(time.Millisecond))
	}
	run := func(cmd *exec.Cmd) int {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd.Process.Pid
	}
	for _, kind := range []string{"", typeV2} {
		own, url := startChild(t, t.TempDir())
		measure("nocturne", kind, url, own.Process.Pid)

		dir, addr := t.TempDir(), freeAddr(t)
		file := filepath.Join(dir, "c.yml")
		if err := os.WriteFile(file, []byte("storage: {tsdb: {out_of_order_time_window: 30m}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		pid := run(exec.Command(need.Prometheus(t), "--config.file="+file, "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+addr, "--web.enable-remote-write-receiver", "--log.level=error"))
		need.Until(t, "Prometheus answers", func() bool { return answers("http://" + addr + "/-/ready") })
		measure("Prometheus", kind, "http://"+addr+"/api/v1/write", pid)
	}
	addr := freeAddr(t)
	pid := run(exec.Command(need.Binary(t, "victoria-metrics", "victoria-metrics"), "-storageDataPath="+t.TempDir(), "-httpListenAddr="+addr, "-loggerLevel=ERROR"))
	need.Until(t, "VictoriaMetrics answers", func() bool { return answers("http://" + addr + "/health") })
	measure("VictoriaMetrics", "", "http://"+addr+"/api/v1/write", pid)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func answers(url string) bool {
	res, err := http.Get(url)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}
