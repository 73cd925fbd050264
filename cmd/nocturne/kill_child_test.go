package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/lab"
	"nocturne/internal/secret"
)

// What makes this test binary the product; see TestMain.
const (
	childConfig = "NOCTURNE_TEST_CHILD"
	childAim    = "NOCTURNE_TEST_AIM"
)

// child is `nocturne serve` that may kill itself, for real, when a job comes
// into a certain state: from outside that moment cannot be met.
func child(path, aim string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := LoadConfig(path)
	if err == nil {
		err = serve(ctx, cfg, os.Stdout, func(h *house) {
			h.reloadable(path, func() (Config, error) { return LoadConfig(path) })
			die(ctx, h, aim)
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// die waits for the nth event of a phase, of a job that an alert began, and kills
// this process a moment after.
func die(ctx context.Context, h *house, aim string) {
	var phase string
	var nth int
	var after time.Duration
	if n, _ := fmt.Sscanf(aim, "%s %d %d", &phase, &nth, &after); n != 3 {
		return
	}
	events := h.jobs.Watch(ctx, "")
	go func() {
		for e := range events {
			if e.StepPhase != phase && (e.StepPhase != "" || e.Phase != phase || e.Line != nil) {
				continue
			}
			if j, err := h.jobs.Job(e.Job); err != nil || j.Episode == "" {
				continue
			}
			if nth--; nth > 0 {
				continue
			}
			<-time.After(after)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}()
}

// writeChildConfig writes what demoConfig says as a file, with shorter
// intervals, one slot in the first region, and what change says.
func writeChildConfig(t *testing.T, l *lab.Lab, dir, hook string, change ...func(*Config)) {
	t.Helper()
	cfg, err := demoConfig(l, dir, filepath.Join(dir, "data"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := defaultFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	ruleFile := filepath.Join(dir, "rules.yml")
	if err := os.WriteFile(ruleFile, []byte(strings.ReplaceAll(string(rules.data), "for: 5s", "for: 2s")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Collector.Interval, cfg.Collector.Timeout = 3*time.Second, 2500*time.Millisecond
	cfg.Alerting.Interval, cfg.Alerting.Rules = time.Second, []string{ruleFile}
	cfg.Alerting.Webhooks = []WebhookConfig{{Name: "noc", URL: secret.Text(hook)}}
	cfg.Automation.Regions[0].Slots = 1
	cfg.Automation.Runbooks, cfg.Automation.Remedies = killRunbooks(t, dir)
	cfg.Targets.OpenStack = nil
	for _, f := range change {
		f(&cfg)
	}
	writeHallConfig(t, cfg, filepath.Join(dir, "nocturne.yaml"))
}

// repeats names the runbook by which a unit's restart may be sent again; a unit
// that is not here is restarted once at most.
var repeats = map[string]string{
	"openvswitch-switch.service": "restart-probed", "redis-server.service": "restart-probed",
	"nginx.service": "restart-again", "postgresql.service": "restart-again",
}

// killRunbooks writes the built-in runbook, one whose restart has a probe, and
// one whose restart is idempotent, and the remedies that use them.
func killRunbooks(t *testing.T, dir string) (runbooks, remedies []string) {
	t.Helper()
	book, err := defaultFile("restart-service.yaml")
	if err != nil {
		t.Fatal(err)
	}
	builtIn, err := defaultFile("remedies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, more := range map[string]string{"restart-service": "", "restart-probed": "\n  probe: systemctl is-active {{service}}", "restart-again": "\n  idempotent: true"} {
		text := strings.Replace(string(book.data), "name: restart-service", "name: "+name, 1)
		runbooks = append(runbooks, write(name+".yaml", strings.Replace(text, "  timeout: 45s", "  timeout: 45s"+more, 1)))
	}
	var first strings.Builder
	for unit, runbook := range repeats {
		fmt.Fprintf(&first, "- {name: %s-of-%s, alert: ServiceFailed, match: {name: %s}, runbook: %s, parameters: {service: %s}}\n", runbook, unit, unit, runbook, unit)
	}
	return runbooks, []string{write("kill-remedies.yaml", strings.Replace(string(builtIn.data), "remedies:\n", "remedies:\n"+first.String(), 1))}
}

// writeHallConfig writes what is not a default in a hall's configuration as the
// file that a person would have written, secrets and all.
func writeHallConfig(t *testing.T, cfg Config, path string) {
	t.Helper()
	type m = map[string]any
	var credentials, regions, webhooks []m
	for _, e := range cfg.Credentials {
		switch {
		case e.SNMP != nil:
			credentials = append(credentials, m{"name": e.Name, "snmp": m{"version": e.SNMP.Version, "community": e.SNMP.Community.Reveal()}})
		case e.SSH != nil:
			credentials = append(credentials, m{"name": e.Name, "ssh": m{"user": e.SSH.User, "key": e.SSH.Key.Reveal()}})
		case e.OpenStack != nil:
			o := e.OpenStack
			credentials = append(credentials, m{"name": e.Name, "openstack": m{
				"auth_url": o.AuthURL, "username": o.Username, "password": o.Password.Reveal(), "project": o.Project,
				"user_domain": o.UserDomain, "project_domain": o.ProjectDomain,
			}})
		}
	}
	targets := func(list []TargetConfig) (out []m) {
		for _, tg := range list {
			one := m{"name": tg.Name, "credential": tg.Credential}
			if tg.Address != "" {
				one["address"] = tg.Address
			}
			if tg.Interval != 0 {
				one["interval"] = tg.Interval.String()
			}
			out = append(out, one)
		}
		return out
	}
	for _, r := range cfg.Automation.Regions {
		regions = append(regions, m{"name": r.Name, "prefixes": r.Prefixes, "slots": r.Slots})
	}
	for _, w := range cfg.Alerting.Webhooks {
		webhooks = append(webhooks, m{"name": w.Name, "url": w.URL.Reveal()})
	}
	automation := m{"remedies": cfg.Automation.Remedies, "regions": regions}
	if len(cfg.Automation.Runbooks) > 0 {
		automation["runbooks"] = cfg.Automation.Runbooks
	}
	hall := m{
		"data": cfg.Data, "listen": cfg.Listen, "log": m{"level": cfg.Log.Level},
		"collector":   m{"interval": cfg.Collector.Interval.String(), "timeout": cfg.Collector.Timeout.String()},
		"alerting":    m{"interval": cfg.Alerting.Interval.String(), "rules": cfg.Alerting.Rules, "webhooks": webhooks},
		"automation":  automation,
		"ssh":         m{"known_hosts": cfg.SSH.KnownHosts},
		"inventory":   cfg.Inventory,
		"credentials": credentials,
		"targets":     m{"snmp": targets(cfg.Targets.SNMP), "linux": targets(cfg.Targets.Linux), "openstack": targets(cfg.Targets.OpenStack)},
	}
	if cfg.Backup.To != "" {
		hall["backup"] = m{"to": cfg.Backup.To, "keep": cfg.Backup.Keep, "state_every": cfg.Backup.StateEvery.String()}
	}
	b, err := json.Marshal(hall) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// process is a running child.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	client *http.Client
	login  cookie
	stderr *lockedBuffer
	gone   chan struct{} // closed when it has ended
	err    error         // of its end; read after gone
}

// cookie is the session of the first administrator; it outlives the process.
type cookie struct{ name, value string }

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startProcess runs the product and waits for its address and, of a fresh one,
// its set-up token.
func startProcess(t *testing.T, cmd *exec.Cmd, fresh bool) (p *process, token string) {
	t.Helper()
	p = &process{t: t, cmd: cmd, stderr: &lockedBuffer{}, gone: make(chan struct{}), client: &http.Client{Timeout: 10 * time.Second}}
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			lines <- sc.Text()
		}
		close(lines)
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	t.Cleanup(p.kill)
	deadline := time.NewTimer(60 * time.Second)
	defer deadline.Stop()
	for p.url == "" || fresh && token == "" || !p.answers() {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("the child does not come up:\n%s", p.stderr)
			}
			if _, address, found := strings.Cut(line, " on http://"); found {
				p.url = "http://" + address
			}
			if _, tk, found := strings.Cut(line, "/setup?token="); found {
				token = tk
			}
		case <-deadline.C:
			t.Fatalf("the child does not come up in a minute:\n%s", p.stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return p, token
}

// answers tells whether the pages are there, or the process is not any more.
func (p *process) answers() bool {
	select {
	case <-p.gone:
		return true
	default:
	}
	resp, err := p.client.Get(p.url + "/healthz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

// command is the campaign's child, not started.
func (c *campaign) command(aim string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+filepath.Join(c.dir, "nocturne.yaml"), childAim+"="+aim)
	return cmd
}

// start runs the campaign's child and signs in where nobody has yet.
func (c *campaign) start(aim string) *process {
	c.t.Helper()
	began := time.Now()
	p, token := startProcess(c.t, c.command(aim), c.login.value == "")
	c.opens = time.Since(began)
	if c.login.value == "" {
		c.login = p.setup(token)
	}
	p.login = c.login
	return p
}

// startsFor starts the campaign's child and kills it a while after. It tells
// whether the child had said where it is.
func (c *campaign) startsFor(d time.Duration) (answered bool, err error) {
	cmd, out, errs := c.command(""), &lockedBuffer{}, &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		return false, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-ended:
		return false, fmt.Errorf("the child ended by itself: %s\n%s", cmd.ProcessState, errs)
	case <-late.C:
	}
	answered = strings.Contains(out.String(), " on http://")
	_ = cmd.Process.Kill() // it may have ended by itself; see below
	<-ended
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && !s.Signaled() {
		return answered, fmt.Errorf("the child ended by itself: %s\n%s", cmd.ProcessState, errs)
	}
	return answered, nil
}

// setup makes the first administrator as a browser would.
func (p *process) setup(token string) cookie {
	p.t.Helper()
	p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	const password = "a hall of racks at night"
	resp, err := p.client.PostForm(p.url+"/setup", url.Values{"token": {token}, "name": {"ada"}, "password": {password}, "again": {password}})
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, k := range resp.Cookies() {
		if strings.Contains(k.Name, "session") {
			return cookie{k.Name, k.Value}
		}
	}
	b, _ := io.ReadAll(resp.Body)
	p.t.Fatalf("set-up: %s, no session:\n%s", resp.Status, b)
	return cookie{}
}

// get asks a path as the administrator.
func (p *process) get(path string, into any) error {
	req, err := http.NewRequest(http.MethodGet, p.url+path, nil)
	if err != nil {
		return err
	}
	req.AddCookie(&http.Cookie{Name: p.login.name, Value: p.login.value})
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, b)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// dies tells whether the child ended by itself within a time.
func (p *process) dies(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-p.gone:
		return true
	case <-late.C:
		return false
	}
}

// kill is kill -9, and waits for the end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && !s.Signaled() && s.ExitStatus() != 0 {
		p.t.Errorf("the child ended with %v:\n%s", p.err, p.stderr)
	}
}

// stop is SIGTERM: the child ends in order.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if !p.dies(30 * time.Second) {
		p.t.Fatalf("the child does not end after SIGTERM:\n%s", p.stderr)
	}
	if p.err != nil {
		p.t.Errorf("the child ended with %v:\n%s", p.err, p.stderr)
	}
}
