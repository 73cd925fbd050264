package linux

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/collector"
)

// sample is a small host's sections, as the script prints them.
func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/host.txt")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadGolden(t *testing.T) {
	res := read(collector.Target{Name: "db-1", Address: "10.0.0.7:22"}, split(sample(t)))
	for _, err := range res.Partial {
		t.Error(err)
	}
	var got []string
	for _, s := range res.Samples {
		got = append(got, s.Labels.String()+" "+strconv.FormatFloat(s.V, 'g', -1, 64))
	}
	slices.Sort(got)
	want, err := os.ReadFile("testdata/host.samples")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); d != "" {
		t.Errorf("samples (-want +got):\n%s", d)
	}
	wantFacts := []collector.Fact{{
		Kind: "host", Key: "db-1", Name: "db-1",
		Fields: map[string]string{
			"hostname": "db-1", "os": "Debian GNU/Linux 12 (bookworm)", "kernel": "Linux 6.1.0-18-amd64", "architecture": "x86_64",
			"machineID": "3d1219c7c4c5404aaa1f6d2a48adfda4", "systemUUID": "4c4c4544-0042-3510-8052-b4c04f333032",
			"cpus": "2", "memory": "8324038656", "address": "10.0.0.7:22",
		},
		Binding: map[string]string{"job": "linux", "instance": "db-1"},
	}}
	if d := cmp.Diff(wantFacts, res.Facts); d != "" {
		t.Errorf("facts (-want +got):\n%s", d)
	}
}

// TestEveryMissingSectionIsNamed cuts one section out, and then spoils it.
func TestEveryMissingSectionIsNamed(t *testing.T) {
	for _, name := range Sections {
		if name == "end" {
			continue
		}
		for _, spoil := range []string{"", "\x00garbage without sense\n"} {
			if spoil != "" && (name == "loadavg" || name == "osrelease" || name == "uname") {
				spoil = "-\n"
			}
			sections := split(sample(t))
			if spoil == "" {
				delete(sections, name)
			} else {
				sections[name] = []byte(spoil)
			}
			res := read(collector.Target{Name: "db-1"}, sections)
			if len(res.Partial) != 1 || !strings.Contains(res.Partial[0].Error(), "linux db-1: section ") || !strings.Contains(res.Partial[0].Error(), name) {
				t.Errorf("%s spoilt with %q: %v", name, spoil, res.Partial)
			}
			if len(res.Samples) < 60 {
				t.Errorf("%s spoilt with %q: only %d samples left", name, spoil, len(res.Samples))
			}
		}
	}
}

// TestCutOutputHasNoFalseValue: at whatever byte the output is cut, every
// value is one that the whole output has too.
func TestCutOutputHasNoFalseValue(t *testing.T) {
	whole := sample(t)
	all := map[string]float64{}
	for _, s := range read(collector.Target{Name: "x"}, split(whole)).Samples {
		all[s.Labels.String()] = s.V
	}
	for cut := range whole {
		res := read(collector.Target{Name: "x"}, split(whole[:cut]))
		for _, s := range res.Samples {
			if v, ok := all[s.Labels.String()]; !ok || v != s.V {
				t.Fatalf("cut at %d: %s %g, not %g", cut, s.Labels, s.V, v)
			}
		}
		if len(res.Partial) == 0 && cut < len(whole)-len(Marker+" end\n") {
			t.Fatalf("cut at %d is not partial", cut)
		}
	}
}

func TestMounts(t *testing.T) {
	text := `/dev/sda1 / ext4 rw,relatime 0 0
/dev/sda1 /var/lib/docker/overlay ext4 rw 0 0
/dev/sda1 /mnt/bound ext4 rw 0 0
proc /proc proc rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
tmpfs /tmp tmpfs rw 0 0
nas:/export /mnt/nas nfs4 rw 0 0
/dev/sdb1 /mnt/with\040blank xfs ro,noatime 0 0
old /srv tmpfs rw 0 0
/dev/sdc1 /srv ext4 rw 0 0
`
	got, err := parseMounts([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []mount{
		{"/dev/sda1", "/", "ext4", false}, {"tmpfs", "/tmp", "tmpfs", false},
		{"/dev/sdb1", "/mnt/with blank", "xfs", true}, {"/dev/sdc1", "/srv", "ext4", false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzRead(f *testing.F) {
	whole := sample(f)
	f.Add(whole)
	for _, s := range split(whole) {
		f.Add(slices.Concat([]byte(Marker+" stat\n"), s, []byte(Marker+" end\n")))
	}
	f.Add(bytes.ReplaceAll(whole, []byte("0"), []byte("-1e999")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range read(collector.Target{Name: "x"}, split(b)).Samples {
			if math.IsNaN(s.V) || math.IsInf(s.V, 0) || s.V < 0 || s.Labels.Get("instance") != "x" || s.Labels.Get("job") != "linux" || !s.Labels.IsValid(2) {
				t.Fatalf("%s %g", s.Labels, s.V)
			}
		}
	})
}

// TestWithoutSystemd: a machine that has no systemd lacks nothing; one whose
// systemctl fails has units that were not seen.
func TestWithoutSystemd(t *testing.T) {
	f := func(text string, partial int) {
		t.Helper()
		sections := split(sample(t))
		sections["units"] = []byte(text)
		res := read(collector.Target{Name: "db-1"}, sections)
		if len(res.Partial) != partial {
			t.Errorf("units %q: partial %v, want %d", text, res.Partial, partial)
		}
		for _, s := range res.Samples {
			if s.Labels.Get("__name__") == "node_systemd_unit_state" {
				t.Errorf("units %q: %s", text, s.Labels)
			}
		}
	}
	f("sh: 1: systemctl: not found\nsystemctl is not installed\n", 0)
	f("systemctl is not installed", 0)
	f("System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down\n", 0)
	f("Failed to connect to bus: Connection refused\n", 1)
	f("Failed to list units: Connection timed out\n", 1)
	f("", 1)
}

// TestNoSystemctlInPath runs what is asked of a machine without systemctl,
// and of one whose systemctl fails.
func TestNoSystemctlInPath(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	f := func(want int) {
		t.Helper()
		out, _ := exec.Command("/bin/sh", "-c", Script).Output() // without cat its exit says nothing
		for from, text := range map[string][]byte{"script": split(out)["units"], "local": localUnits(t.Context())} {
			sections := split(sample(t))
			sections["units"] = text
			if got := read(collector.Target{Name: "db-1"}, sections).Partial; len(got) != want {
				t.Errorf("%s: units %q: partial %v, want %d", from, text, got, want)
			}
		}
	}
	f(0)
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	f(1)
}
