package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// asProgram is set where this test's binary is to be the program.
const asProgram = "NOCTURNE_TEST_AS_PROGRAM"

// TestGuide does what each page of docs/guide says, top to bottom, in a folder
// of the page's own: it writes the files that blocks name, runs the lines that
// begin with a prompt, and holds what they print to what the page shows. "…"
// in a page stands for anything; a line that ends with "# fails" must; one that
// ends with "&" goes on until the page ends.
func TestGuide(t *testing.T) {
	whole(t)
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "guide", "*.md"))
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			newReader(t).follow(string(text))
		})
	}
}

// pageReader does what a page says.
type pageReader struct {
	t            *testing.T
	dir, address string
	link         string // for the first administrator, once it was printed
	token        string
	stop         []func() // what was started; once each
}

func newReader(t *testing.T) *pageReader {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &pageReader{t: t, dir: t.TempDir(), address: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.write("bin/nocturne", fmt.Sprintf("#!/bin/sh\nexec env %s=1 %q \"$@\"\n", asProgram, self))
	if err := os.Chmod(filepath.Join(r.dir, "bin", "nocturne"), 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *pageReader) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

var (
	openFence = regexp.MustCompile("^```([a-z]+)(?: (\\S+))?$")
	directive = regexp.MustCompile(`^<!-- test: (.+) -->$`)
)

// follow goes through the page's lines.
func (r *pageReader) follow(page string) {
	r.t.Helper()
	page = strings.ReplaceAll(page, "127.0.0.1:8080", r.address)
	lines := bufio.NewScanner(strings.NewReader(page))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if m := directive.FindStringSubmatch(line); m != nil {
			r.direct(m[1])
		}
		m := openFence.FindStringSubmatch(line)
		if m == nil {
			if strings.HasPrefix(line, "```") || strings.HasPrefix(line, "$ ") {
				r.t.Errorf("line %d: %q is outside of a block that is tested", n, line)
			}
			continue
		}
		var block strings.Builder
		for n++; lines.Scan() && lines.Text() != "```"; n++ {
			block.WriteString(lines.Text() + "\n")
		}
		switch {
		case m[1] == "console":
			r.console(block.String())
		case m[2] != "":
			r.write(m[2], block.String())
		}
	}
}

// console runs the commands of a block.
func (r *pageReader) console(block string) {
	r.t.Helper()
	for part := range strings.SplitSeq("\n"+block, "\n$ ") {
		line, shown, _ := strings.Cut(strings.TrimPrefix(part, "\n"), "\n")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if background, ok := strings.CutSuffix(line, " &"); ok {
			r.start(background, shown)
			continue
		}
		cmdline, fails := strings.CutSuffix(line, " # fails")
		ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
		out, err := r.command(ctx, cmdline).CombinedOutput()
		cancel()
		if (err != nil) != fails {
			r.t.Errorf("$ %s: %v\n%s", line, err, out)
		}
		if !shows(string(out), shown) {
			r.t.Errorf("$ %s printed\n%s\nwhere the page has\n%s", line, out, shown)
		}
	}
}

func (r *pageReader) command(ctx context.Context, line string) *exec.Cmd {
	c := exec.CommandContext(ctx, "sh", "-c", line)
	c.Dir = r.dir
	c.Env = append(os.Environ(), "PATH="+filepath.Join(r.dir, "bin")+":"+os.Getenv("PATH"), "HOME="+r.dir)
	return c
}

// shows tells whether out is what a page shows, where "…" is anything.
func shows(out, shown string) bool {
	parts := strings.Split(strings.TrimSpace(shown), "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`^(?s)` + strings.Join(parts, ".*") + `\s*$`).MatchString(strings.TrimSpace(out))
}

// output gathers what a program that goes on prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // mu guards it
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

var setupLink = regexp.MustCompile(`http://\S+/setup\?token=\S+`)

// start runs a command until the page ends; it must then end well.
func (r *pageReader) start(line, shown string) {
	r.t.Helper()
	out, errs := &output{}, &output{}
	c := r.command(context.WithoutCancel(r.t.Context()), "exec "+line)
	c.Stdout, c.Stderr = out, errs
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			r.t.Errorf("stop %s: %v", line, err)
		}
		if err := c.Wait(); err != nil {
			r.t.Errorf("%s ended with %v\n%s", line, err, errs)
		}
	})
	r.stop = append(r.stop, stop)
	r.t.Cleanup(stop)
	eventually(r.t, 30*time.Second, line+" prints what the page has and answers", func() bool {
		if !shows(out.String(), strings.TrimSpace(shown)+"\n…") && !shows(out.String(), shown) {
			return false
		}
		res, err := http.Get("http://" + r.address + "/healthz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	r.link = setupLink.FindString(out.String())
}

// direct does what the page asks of a person.
func (r *pageReader) direct(what string) {
	r.t.Helper()
	switch what {
	case "set up":
		r.setUp()
	case "stop the server":
		for _, stop := range r.stop {
			stop()
		}
	case "the data of an earlier version":
		r.earlier()
	case "keys":
		r.keys()
	case "wait for samples":
		eventually(r.t, 30*time.Second, "this machine is in the history", func() bool {
			return strings.Contains(r.get("/api/v1/query?query=node_load1"), `"instance":"localhost"`)
		})
	default:
		r.t.Errorf("nobody knows how to %q", what)
	}
}

// setUp makes the first administrator by the link, and a token.
func (r *pageReader) setUp() {
	r.t.Helper()
	link, err := url.Parse(r.link)
	if err != nil || r.link == "" {
		r.t.Fatalf("no set-up link was printed: %v", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	form := url.Values{"token": {link.Query().Get("token")}, "name": {"ann"}, "password": {"a long passphrase"}, "again": {"a long passphrase"}}
	res, err := c.PostForm("http://"+r.address+"/setup", form)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = res.Body.Close()
	req, err := http.NewRequest(http.MethodPost, "http://"+r.address+"/api/nocturne/v1/tokens", strings.NewReader(`{"name":"guide","role":"administrator"}`))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err = c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var made struct{ Token string }
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || made.Token == "" {
		r.t.Fatalf("make a token: %s, %v", res.Status, err)
	}
	r.token = made.Token
	r.write("token", made.Token+"\n")
}

func (r *pageReader) get(path string) string {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+r.address+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// earlier has the data folder that the last released version left.
func (r *pageReader) earlier() {
	r.t.Helper()
	all, err := filepath.Glob(filepath.Join(releases, "*.tar.zst"))
	if err != nil || len(all) == 0 {
		r.t.Fatalf("no releases: %v", err)
	}
	if err := os.Rename(filepath.Join(unpackRelease(r.t, all[len(all)-1]), "data"), filepath.Join(r.dir, "data")); err != nil {
		r.t.Fatal(err)
	}
}

// keys makes the key and the list of hosts that a page names.
func (r *pageReader) keys() {
	r.t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		r.t.Fatal(err)
	}
	r.write("ops_ed25519", string(pem.EncodeToMemory(block)))
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write("known_hosts", "192.0.2.21 "+string(ssh.MarshalAuthorizedKey(key)))
}

func TestShows(t *testing.T) {
	for _, c := range []struct {
		out, shown string
		want       bool
	}{
		{"good: 3 targets\n", "good: …", true}, {"bad\n", "good: …", false}, {"a\nb\nc\n", "a\n…\nc", true}, {"a\nb\nc\n", "a\nc", false},
		{"anything", "…", true}, {"", "", true}, {"more than nothing", "", false}, {"a (b) c", "a (b) c", true},
	} {
		if got := shows(c.out, c.shown); got != c.want {
			t.Errorf("%q as %q: %v", c.out, c.shown, got)
		}
	}
}
