package installed

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nocturne/internal/need"
)

// unit is the section Service: the values of each setting, in order.
type unit map[string][]string

func readUnit(t *testing.T) unit {
	t.Helper()
	u, section := unit{}, ""
	for line := range strings.Lines(read(t, filepath.Join(root(), "tools", "packaging", "nocturne.service"))) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = line
		case ok && section == "[Service]":
			u[key] = append(u[key], value)
		}
	}
	return u
}

// one is the value of a setting that stands once.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	if len(u[key]) != 1 {
		t.Fatalf("%s stands %d times in the unit", key, len(u[key]))
	}
	return u[key][0]
}

// highest is what `systemd-analyze security` may give the unit, of 10. What it
// holds against it is the network, which is the purpose, the two capabilities,
// and what watching this machine needs.
const highest = 1.5

// TestUnit has systemd read the unit.
func TestUnit(t *testing.T) {
	analyze := need.Binary(t, "systemd-analyze", "systemd")
	text := read(t, filepath.Join(root(), "tools", "packaging", "nocturne.service"))
	dir := t.TempDir()
	// The binary is not installed here.
	write(t, filepath.Join(dir, "nocturne.service"), strings.ReplaceAll(text, "/usr/bin/nocturne ", "/bin/true "), 0o644)
	if out := output(t, analyze, "verify", "--man=no", filepath.Join(dir, "nocturne.service")); strings.Contains(out, "nocturne.service") {
		t.Errorf("systemd says of the unit: %s", out)
	}
	out := output(t, analyze, "security", "--offline=true", "--no-pager", filepath.Join(dir, "nocturne.service"))
	m := regexp.MustCompile(`Overall exposure level for nocturne\.service: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no exposure level in %s", out)
	}
	if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > highest {
		t.Errorf("the exposure level is %s, more than %.1f:\n%s", m[1], highest, out)
	}
}

// TestAccountIsOne compares the account that systemd-sysusers makes with the one
// that the packages' script makes; TestDebianPackage has the script's.
func TestAccountIsOne(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, need.Binary(t, "systemd-sysusers", "systemd"), "--root="+dir, filepath.Join(root(), "tools", "packaging", "nocturne.sysusers"))
	var name, shell, home string
	for line := range strings.Lines(read(t, filepath.Join(dir, "etc", "passwd"))) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 7 {
			name, home, shell = f[0], f[5], f[6]
		}
	}
	if name != "nocturne" || home != "/var/lib/nocturne" || shell != "/usr/sbin/nologin" {
		t.Errorf("the account is %s, %s, %s", name, home, shell)
	}
}

// cage is what the unit forbids, as far as it can be had without systemd.
func (u unit) cage(t *testing.T) cage {
	t.Helper()
	c := cage{Calls: u.calls(t), NoWriteExecute: u.one(t, "MemoryDenyWriteExecute") == "yes", NoNamespaces: u.one(t, "RestrictNamespaces") == "yes"}
	for f := range strings.FieldsSeq(u.one(t, "RestrictAddressFamilies")) {
		n, known := families[f]
		if !known {
			t.Fatalf("address family %s is not known here", f)
		}
		c.Families = append(c.Families, n)
	}
	return c
}

// calls are the numbers of the system calls that SystemCallFilter lets pass.
func (u unit) calls(t *testing.T) []uint32 {
	t.Helper()
	sets := callSets(t)
	pass := map[string]bool{}
	for i, line := range u["SystemCallFilter"] {
		line, without := strings.CutPrefix(line, "~")
		if without == (i == 0) {
			t.Fatal("the first SystemCallFilter names what passes, the others what does not")
		}
		for name := range strings.FieldsSeq(line) {
			expand(sets, name, func(call string) { pass[call] = !without })
		}
	}
	numbers := callNumbers(t)
	var out []uint32
	for call, passes := range pass {
		if n, here := numbers[call]; here && passes {
			out = append(out, n)
		}
	}
	if len(out) < 150 || len(out) > 330 {
		t.Fatalf("%d system calls pass", len(out))
	}
	return out
}

// callSets are the sets that systemd knows, each with its members.
func callSets(t *testing.T) map[string][]string {
	t.Helper()
	sets, at := map[string][]string{}, ""
	for line := range strings.Lines(output(t, need.Binary(t, "systemd-analyze", "systemd"), "syscall-filter", "--no-pager")) {
		name := strings.TrimSpace(line)
		switch {
		case name == "" || strings.HasPrefix(name, "#"):
		case strings.HasPrefix(line, "@"):
			at = name
		case at != "" && (line[0] == ' ' || line[0] == '\t'):
			sets[at] = append(sets[at], name)
		}
	}
	return sets
}

func expand(sets map[string][]string, name string, each func(string)) {
	if !strings.HasPrefix(name, "@") {
		each(name)
		return
	}
	for _, member := range sets[name] {
		expand(sets, member, each)
	}
}

// callNumbers reads the numbers of this architecture from golang.org/x/sys.
func callNumbers(t *testing.T) map[string]uint32 {
	t.Helper()
	dir := strings.TrimSpace(output(t, "go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys"))
	out := map[string]uint32{}
	for _, m := range regexp.MustCompile(`(?m)^\s*SYS_(\w+)\s*=\s*(\d+)`).FindAllStringSubmatch(read(t, filepath.Join(dir, "unix", "zsysnum_linux_amd64.go")), -1) {
		n, err := strconv.ParseUint(m[2], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.ToLower(m[1])] = uint32(n)
	}
	if out["openat"] != 257 {
		t.Fatal(fmt.Sprint("openat is ", out["openat"]))
	}
	return out
}
