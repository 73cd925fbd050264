package benchtsdb

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/access"
	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/state"
)

// server is one of those compared: a process on loopback that takes remote
// write and answers PromQL.
type server struct {
	t       *testing.T
	name    string
	dir     string
	url     string
	token   string
	args    []string // the program first
	history string   // where its blocks lie

	cmd  *exec.Cmd
	gone chan struct{} // closed when the process has ended
	next int           // interval to send
}

// queries is a client whose connections are those of a few browsers.
var queries = &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}

func newServer(t *testing.T, name string, args func(dir, address string) []string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, name: name, dir: t.TempDir(), url: "http://" + address}
	s.history = s.dir
	s.args = args(s.dir, address)
	t.Cleanup(s.kill)
	return s
}

func newPrometheus(t *testing.T) *server {
	t.Helper()
	bin := need.Prometheus(t)
	s := newServer(t, "Prometheus", func(dir, address string) []string {
		file := filepath.Join(t.TempDir(), "prometheus.yml")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return []string{bin, "--config.file=" + file, "--storage.tsdb.path=" + dir, "--web.listen-address=" + address,
			"--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=3y", "--log.level=warn"}
	})
	return s
}

func newVictoria(t *testing.T) *server {
	t.Helper()
	bin := need.Binary(t, "victoria-metrics", "victoria-metrics")
	return newServer(t, "VictoriaMetrics", func(dir, address string) []string {
		return []string{bin, "-storageDataPath=" + dir, "-httpListenAddr=" + address, "-retentionPeriod=3y", "-loggerLevel=WARN"}
	})
}

// builtIn is the folder that product made, to be removed at the end.
var builtIn string

// product is the program as the Makefile builds it, built once.
var product = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "benchtsdb")
	if err != nil {
		return "", err
	}
	builtIn = dir
	bin := filepath.Join(dir, "nocturne")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "gosnmp_nodebug", "-ldflags", "-s -w", "-o", bin, "nocturne/cmd/nocturne")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
})

// newNocturne is the product with nothing of its own to poll, and a token.
func newNocturne(t *testing.T) *server {
	t.Helper()
	bin, err := product()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, "nocturne", func(dir, address string) []string {
		file := filepath.Join(dir, "nocturne.yaml")
		text := fmt.Sprintf("data: %s\nlisten: %s\nlog: {level: warn}\ncollector: {local: false, self: false, interval: %v}\nhistory: {retention: 3y}\n", filepath.Join(dir, "data"), address, interval)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return []string{bin, "serve", "--config", file}
	})
	s.history = filepath.Join(s.dir, "data", "history")
	s.token = makeToken(t, filepath.Join(s.dir, "data"))
	return s
}

// makeToken leaves a token in a data folder that no process has open.
func makeToken(t *testing.T, data string) string {
	t.Helper()
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := state.Open(state.Options{Dir: filepath.Join(data, "state"), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	a, err := access.Open(access.Options{State: db, Ledger: chain, KeyFile: filepath.Join(data, "master.key")})
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.AddToken(t.Context(), access.System, "bench", access.Administrator, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

func (s *server) authorize(req *http.Request) {
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
}

// start runs the program and returns how long it takes until the query is
// answered with something, or, without one, with anything.
func (s *server) start(query string, at time.Time) time.Duration {
	s.t.Helper()
	log, err := os.OpenFile(s.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// A run that is cut off leaves nothing behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) {
		defer log.Close()
		_ = cmd.Wait()
		close(gone)
	}(s.cmd, s.gone)
	beat := time.NewTicker(2 * time.Millisecond)
	defer beat.Stop()
	for ; time.Since(began) < 5*time.Minute; <-beat.C {
		select {
		case <-s.gone:
			s.t.Fatalf("%s ends as it starts:\n%s", s.name, s.tail())
		default:
		}
		got, err := s.instant(queries, cmp.Or(query, "vector(1)"), at)
		if err == nil && len(got) > 0 {
			return time.Since(began)
		}
	}
	s.t.Fatalf("%s does not answer in five minutes:\n%s", s.name, s.tail())
	return 0
}

func (s *server) tail() string {
	text, err := os.ReadFile(s.dir + ".log")
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// kill ends the process as a power cut would, and waits for it.
func (s *server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.gone
}

func (s *server) cpu() time.Duration {
	s.t.Helper()
	d, err := cpuOf(s.cmd.Process.Pid)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", s.name, err, s.tail())
	}
	return d
}

// quiet waits until the process hardly works any more, so that what it does
// afterwards counts for what was sent, and not for the next.
func (s *server) quiet(limit time.Duration) {
	s.t.Helper()
	const look = 500 * time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end); {
		before := s.cpu()
		time.Sleep(look)
		if s.cpu()-before <= look/10 {
			return
		}
	}
	s.t.Logf("%s still works %v after its load", s.name, limit)
}

// get asks for an API path and returns the whole body.
func (s *server) get(client *http.Client, path string, v url.Values) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, s.url+path+"?"+v.Encode(), nil)
	if err != nil {
		return nil, err
	}
	s.authorize(req)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s%s: %s: %.300s", s.name, path, v, resp.Status, text)
	}
	return text, err
}

// instant is the result of a query as it stands in the JSON.
func (s *server) instant(client *http.Client, query string, at time.Time) ([]json.RawMessage, error) {
	v := url.Values{"query": {query}}
	if !at.IsZero() {
		v.Set("time", fmt.Sprint(at.Unix()))
	}
	text, err := s.get(client, "/api/v1/query", v)
	if err != nil {
		return nil, err
	}
	return results(text)
}

func results(text []byte) ([]json.RawMessage, error) {
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	err := json.Unmarshal(text, &answer)
	return answer.Data.Result, err
}

// versions says who is compared.
func versions(t *testing.T) []string {
	t.Helper()
	ours, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		ours = []byte("unknown")
	}
	out := []string{"nocturne " + strings.TrimSpace(string(ours))}
	text, err := os.ReadFile(filepath.Join(root(t), "tools", "peers", "prometheus", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, version, found := strings.Cut(line, "github.com/prometheus/prometheus v"); found {
			version = "v" + strings.Fields(version)[0]
			out = append(out, "Prometheus, built from its module "+version, "library: prometheus/tsdb of the same version, options as Prometheus sets them")
		}
	}
	if text, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "victoria-metrics").Output(); err == nil {
		out = append(out, "VictoriaMetrics, Debian's "+string(text))
	}
	return out
}
