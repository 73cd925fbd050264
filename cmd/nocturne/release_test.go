package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"nocturne/internal/lab"
	"nocturne/internal/need"
	"nocturne/internal/state"
	"nocturne/internal/upgrade"
)

// A release is a folder as a released version left it: its data, the files of
// its configuration, and answers.json, what that version said about it. Where
// the folder stood is placeOf.
const (
	releases  = "testdata/releases"
	placeOf   = "@FOLDER@"
	answersOf = "answers.json"
)

// asked is what a version is asked about its data. What is not of the data but
// of the moment is left out of the comparison (momentary).
var asked = []string{
	"/ledger?limit=1000", "/people", "/tokens", "/maintenance", "/incidents", "/reports", "/items", "/jobs",
}

var momentary = []string{"state", "reasons", "last_used", "last_seen", "seen", "age", "next", "due", "checked", "alerts", "ended", "notes", "total"}

// TestMakeRelease makes a release of the program at NOCTURNE_PROGRAM, which it
// runs on a small hall with people, a token, a repaired fault and one that is
// not (make release).
func TestMakeRelease(t *testing.T) {
	name, program := os.Getenv("NOCTURNE_RELEASE"), os.Getenv("NOCTURNE_PROGRAM")
	if name == "" {
		t.Skip("makes a release of the program at NOCTURNE_PROGRAM named NOCTURNE_RELEASE (make release)")
	}
	seed, _ := need.Seed(t)
	l, err := lab.New(lab.Options{Seed: seed, Racks: 1, Hosts: 4})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, lab: l, hook: newReceiver(t), dir: t.TempDir(), bin: program}
	writeHallConfig(t, b.config(), b.path("nocturne.yaml"))
	runLab(t, l)
	p := b.start()
	p.post(t, "/api/nocturne/v1/people", map[string]any{"name": "vera", "role": "viewer", "password": "a long word for looking"}, new(any))
	p.post(t, "/api/nocturne/v1/tokens", map[string]any{"name": "grafana", "role": "viewer"}, new(any))
	host := l.Hosts()[0]
	if err := l.StopService(host.Name, host.Services[0]); err != nil {
		t.Fatal(err)
	}
	var jobs struct{ Items []struct{ ID, Phase string } }
	eventually(t, 3*time.Minute, "a fault is repaired", func() bool {
		return p.get("/api/nocturne/v1/jobs", &jobs) == nil && len(jobs.Items) > 0 && jobs.Items[0].Phase == "succeeded"
	})
	p.post(t, "/api/nocturne/v1/maintenance", map[string]any{"item": "host/" + host.Name, "minutes": 120, "note": "a new disk"}, new(any))
	answers := map[string]json.RawMessage{}
	for _, path := range asked {
		var raw json.RawMessage
		if err := p.get("/api/nocturne/v1"+path, &raw); err != nil {
			t.Fatal(err)
		}
		answers[path] = raw
	}
	at := "/api/v1/query?query=" + url.QueryEscape("count_over_time(up[1h])") + fmt.Sprintf("&time=%d", time.Now().Unix()-5)
	var raw json.RawMessage
	if err := p.get(at, &raw); err != nil {
		t.Fatal(err)
	}
	answers[at] = raw
	p.stop()
	text, err := json.MarshalIndent(answers, "", " ")
	if err == nil {
		err = os.WriteFile(b.path(answersOf), text, 0o600)
	}
	if err == nil {
		err = packRelease(b.dir, filepath.Join(releases, name+".tar.zst"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// packRelease packs the files of a folder. A lock is nothing to keep.
func packRelease(dir, to string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == lockName || d.Name() == "LOCK" || d.Name() == "reserve" {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if !strings.HasPrefix(name, "data/") {
			data = bytes.ReplaceAll(data, []byte(dir), []byte(placeOf))
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	for _, closeIt := range []func() error{w.Close, z.Close, f.Close} {
		if e := closeIt(); err == nil {
			err = e
		}
	}
	return err
}

func unpackRelease(t *testing.T, path string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	f := open(t, path)
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(h.Name, "data/") {
			data = bytes.ReplaceAll(data, []byte(placeOf), []byte(dir))
		}
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReleases opens the data of each released version with this one: all that
// it said of them is still so, its people can sign in, what it sealed opens;
// and the upgrade can be taken back.
func TestReleases(t *testing.T) {
	all, err := filepath.Glob(filepath.Join(releases, "*.tar.zst"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no releases: %v", err)
	}
	for _, path := range all {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".tar.zst"), func(t *testing.T) {
			dir := unpackRelease(t, path)
			before := contentOf(t, filepath.Join(dir, "data", "state"))
			quieten(t, filepath.Join(dir, "nocturne.yaml"))
			var answers map[string]json.RawMessage
			raw, err := os.ReadFile(filepath.Join(dir, answersOf))
			if err == nil {
				err = json.Unmarshal(raw, &answers)
			}
			if err != nil {
				t.Fatal(err)
			}
			run := func(args ...string) string {
				t.Helper()
				cmd := program(args...)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
				return string(out)
			}
			p, _ := startProcess(t, program("serve", "--config", filepath.Join(dir, "nocturne.yaml")), false)
			if m, _, err := upgrade.Read(filepath.Join(dir, "data")); err != nil || m.Format != upgrade.Current || m.Previous == nil {
				t.Errorf("it was not upgraded: %+v, %v", m, err)
			}
			p.login = p.signIn("ada", "a hall of racks at night")
			if len(answers) < len(asked)+1 {
				t.Errorf("%d answers to compare", len(answers))
			}
			for path, was := range answers {
				var old, now any
				if err := json.Unmarshal(was, &old); err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(path, "/api/") {
					path = "/api/nocturne/v1" + path
				}
				if err := p.get(path, &now); err != nil {
					t.Errorf("%v", err)
				}
				if d := lost(path, old, now); len(d) > 0 {
					t.Errorf("%d differences, the first: %v", len(d), d[:min(5, len(d))])
				}
			}
			var verified struct{ Entries int }
			p.post(t, "/api/nocturne/v1/ledger/verify", struct{}{}, &verified)
			if verified.Entries < 5 {
				t.Errorf("a ledger of %d entries", verified.Entries)
			}
			p.stop()
			if said := run("key", "check", "--data", filepath.Join(dir, "data")); !strings.Contains(said, "open") {
				t.Errorf("the sealed records: %s", said)
			}
			run("downgrade", "--data", filepath.Join(dir, "data"), "--yes")
			if d := cmp.Diff(before, contentOf(t, filepath.Join(dir, "data", "state"))); d != "" {
				t.Errorf("state after the downgrade (-before +after):\n%s", d)
			}
			if m, _, err := upgrade.Read(filepath.Join(dir, "data")); err != nil || m.Format >= upgrade.Current {
				t.Errorf("mark after the downgrade: %+v, %v", m, err)
			}
		})
	}
}

// quieten has the configuration poll and judge nothing new.
func quieten(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cfg map[string]any
	if err := json.Unmarshal(raw, &cfg); err != nil {
		t.Fatal(err)
	}
	for part, field := range map[string]string{"collector": "interval", "alerting": "interval"} {
		cfg[part].(map[string]any)[field] = "1h"
	}
	if raw, err = json.Marshal(cfg); err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// signIn does as a browser would.
func (p *process) signIn(name, password string) cookie {
	p.t.Helper()
	p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := p.client.PostForm(p.url+"/login", url.Values{"name": {name}, "password": {password}})
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, k := range resp.Cookies() {
		if strings.Contains(k.Name, "session") {
			return cookie{k.Name, k.Value}
		}
	}
	p.t.Fatalf("sign in: %s", resp.Status)
	return cookie{}
}

// lost lists what of an old answer is not in the new one.
func lost(at string, old, now any) (d []string) {
	switch old := old.(type) {
	case map[string]any:
		m, _ := now.(map[string]any)
		for k, v := range old {
			if !slices.Contains(momentary, k) {
				d = append(d, lost(at+"."+k, v, m[k])...)
			}
		}
	case []any:
		list, _ := now.([]any)
		if len(list) < len(old) {
			return []string{fmt.Sprintf("%s had %d, has %d", at, len(old), len(list))}
		}
		for i, v := range old {
			d = append(d, lost(fmt.Sprintf("%s[%d]", at, i), v, list[i])...)
		}
	default:
		if !reflect.DeepEqual(old, now) {
			return []string{fmt.Sprintf("%s was %v, is %v", at, old, now)}
		}
	}
	return d
}

func contentOf(t *testing.T, dir string) map[string]state.Content {
	t.Helper()
	db, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	snap, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	c, err := snap.Content(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// program is the product, which this test binary is too.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}
