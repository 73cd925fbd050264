package linux

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/collector"
	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/sshconn"
	"nocturne/internal/sshconn/sshdtest"
)

// values are a result's samples by their labels without instance.
func values(t *testing.T, r collector.Result) map[string]float64 {
	t.Helper()
	m := map[string]float64{}
	for _, s := range r.Samples {
		k := labels.NewBuilder(s.Labels).Del("instance").Labels().String()
		if _, twice := m[k]; twice {
			t.Errorf("%s comes twice", k)
		}
		m[k] = s.V
	}
	return m
}

func remote(t *testing.T, config ...string) (*Remote, collector.Target) {
	t.Helper()
	s := sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"), config...)
	known, err := sshconn.ParseKnownHosts("known_hosts", s.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	p, err := sshconn.New(sshconn.Options{
		Credential: func(string) (sshconn.Credential, error) {
			return sshconn.Credential{User: s.User, PrivateKey: secret.Text(s.Key)}, nil
		},
		HostKeys: known,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(p), collector.Target{Name: "over-ssh", Kind: "linux", Address: s.Address, Credential: "ops"}
}

// TestSameMachineBothWays polls this machine from /proc, over SSH, and from
// /proc again: the same series both ways, and every counter over SSH between
// the two readings.
func TestSameMachineBothWays(t *testing.T) {
	r, target := remote(t)
	poll := func(s collector.Source, tg collector.Target) (collector.Result, map[string]float64) {
		t.Helper()
		res, err := s.Poll(t.Context(), tg)
		if err != nil {
			t.Fatal(err)
		}
		return res, values(t, res)
	}
	here := collector.Target{Name: "here", Kind: "local"}
	_, before := poll(NewLocal(), here)
	over, during := poll(r, target)
	local, after := poll(NewLocal(), here)

	// What others mount or unmount meanwhile may be seen in between, or not.
	for _, pair := range [][2]map[string]float64{{before, after}, {after, before}} {
		for k := range pair[0] {
			if _, both := pair[1][k]; !both && strings.Contains(k, "mountpoint=") {
				delete(pair[0], k)
				delete(during, k)
			}
		}
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(during))); d != "" {
		t.Errorf("series (-local +ssh):\n%s", d)
	}
	counters, equal := 0, 0
	for k, v := range during {
		switch {
		case strings.Contains(k, "_total\""):
			counters++
			if v < before[k]-1e-9 || v > after[k]+1e-9 {
				t.Errorf("%s: %g is not between %g and %g", k, v, before[k], after[k])
			}
		case strings.Contains(k, "_size_bytes\"") || strings.Contains(k, "MemTotal") || strings.Contains(k, "_info\"") || strings.Contains(k, "boot_time"):
			equal++
			if v != after[k] {
				t.Errorf("%s: %g over SSH, %g here", k, v, after[k])
			}
		}
	}
	t.Logf("%d series, %d counters between, %d equal", len(during), counters, equal)
	if counters < 40 || equal < 5 {
		t.Errorf("%d counters, %d equal values: too few to compare", counters, equal)
	}

	if len(over.Facts) != 1 || len(local.Facts) != 1 {
		t.Fatalf("facts %v and %v", over.Facts, local.Facts)
	}
	o, l := over.Facts[0], local.Facts[0]
	if o.Fields["address"] != target.Address {
		t.Errorf("address %q", o.Fields["address"])
	}
	delete(o.Fields, "address")
	if d := cmp.Diff(l.Fields, o.Fields); d != "" || l.Fields["hostname"] == "" || l.Fields["kernel"] == "" || l.Fields["cpus"] == "" || l.Fields["memory"] == "" {
		t.Errorf("fields %v (-local +ssh):\n%s", l.Fields, d)
	}
	if want := map[string]string{"job": "linux", "instance": "over-ssh"}; o.Kind != "host" || o.Key != "over-ssh" || !maps.Equal(o.Binding, want) {
		t.Errorf("fact %+v", o)
	}
}

// TestUnitsOverSSH stands a systemctl of our own in sshd's PATH, since a
// container has no systemd, and changes what it says.
func TestUnitsOverSSH(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	fake := "#!/bin/sh\n[ \"$*\" = 'list-units --type=service --all --plain --no-legend --no-pager' ] && cat " + state + "\n"
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	r, target := remote(t, "SetEnv PATH="+dir+":/usr/bin:/bin")
	poll := func(text string) (map[string]float64, []error) {
		t.Helper()
		if err := os.WriteFile(state, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		res, err := r.Poll(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		return values(t, res), res.Partial
	}
	key := func(unit, state string) string {
		return labels.FromStrings("__name__", "node_systemd_unit_state", "job", "linux", "name", unit, "state", state).String()
	}
	for _, now := range unitStates {
		v, partial := poll("web.service loaded " + now + " some Web\ngone.service not-found inactive dead gone.service\n")
		for _, state := range unitStates {
			want := 0.0
			if state == now {
				want = 1
			}
			if got, ok := v[key("web.service", state)]; !ok || got != want {
				t.Errorf("%s: state %s is %g, %v", now, state, got, ok)
			}
		}
		if _, ok := v[key("gone.service", "inactive")]; ok || len(partial) != 0 {
			t.Errorf("a unit that is not loaded has a state, or partial: %v", partial)
		}
	}
	v, partial := poll("Failed to connect to bus\n")
	if len(partial) != 1 || !strings.Contains(partial[0].Error(), "over-ssh") || !strings.Contains(partial[0].Error(), "units") || !strings.Contains(partial[0].Error(), "connect to bus") {
		t.Errorf("partial: %v", partial)
	}
	if len(v) < 100 {
		t.Errorf("%d series beside the missing units", len(v))
	}
}

// TestHangingSystemd costs the units only.
func TestHangingSystemd(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\nsleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, target := remote(t, "SetEnv PATH="+dir+":/usr/bin:/bin")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res, err := r.Poll(ctx, target)
	if err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
	if n := len(values(t, res)); n < 100 || len(res.Partial) != 2 {
		t.Errorf("%d series, partial %v", n, res.Partial)
	}
}

func TestRemoteErrorsNameTheTarget(t *testing.T) {
	r, target := remote(t)
	target.Address = "127.0.0.1:1"
	_, err := r.Poll(t.Context(), target)
	if err == nil || !strings.Contains(err.Error(), "over-ssh") || !strings.Contains(err.Error(), "host") && !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}
