package main

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// tree writes files below a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCgroupMemory(t *testing.T) {
	f := func(name, list string, files map[string]string, want int64, group string) {
		t.Helper()
		root := tree(t, files)
		at := filepath.Join(t.TempDir(), "cgroup")
		if err := os.WriteFile(at, []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
		got, from, err := cgroupMemory(at, root)
		if err != nil || got != want || strings.TrimPrefix(from, root) != group {
			t.Errorf("%s: %d of %q, %v; want %d of %q", name, got, from, err, want, group)
		}
	}
	f("v2, own limit", "0::/system.slice/nocturne.service\n", map[string]string{
		"memory.max": "max\n", "system.slice/memory.max": "max\n", "system.slice/nocturne.service/memory.max": "536870912\n",
	}, 512<<20, "/system.slice/nocturne.service/memory.max")
	f("v2, the one above is smaller", "0::/a/b\n", map[string]string{"a/memory.max": "100000000", "a/b/memory.max": "200000000"}, 100_000_000, "/a/memory.max")
	f("v2, none", "0::/\n", nil, 0, "")
	f("v2, in a container that sees itself as the root", "0::/\n", map[string]string{"memory.max": "268435456\n"}, 256<<20, "/memory.max")
	f("v2, in a container whose list tells the machine's path", "0::/kubepods/x\n", map[string]string{"memory.max": "268435456\n"}, 256<<20, "/memory.max")
	f("v1", "11:cpu,cpuacct:/x\n5:memory:/docker/abc\n1:name=systemd:/x\n", map[string]string{
		"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/docker/abc/memory.limit_in_bytes": "1073741824\n", "cpu,cpuacct/x/memory.max": "1",
	}, 1<<30, "/memory/docker/abc/memory.limit_in_bytes")
	f("v1, no limit", "5:memory:/\n", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0, "")
	f("both, hybrid", "5:memory:/m\n0::/u\n", map[string]string{"unified/u/memory.max": "300000000", "memory/m/memory.limit_in_bytes": "400000000"}, 300_000_000, "/unified/u/memory.max")
	if n, _, err := cgroupMemory(filepath.Join(t.TempDir(), "none"), t.TempDir()); n != 0 || err != nil {
		t.Errorf("a system without control groups: %d, %v", n, err)
	}
	for _, broken := range []struct{ list, limit string }{{"0::/\n", "plenty"}, {"nonsense\n", "1"}} {
		dir := tree(t, map[string]string{"cgroup": broken.list, "memory.max": broken.limit})
		if _, _, err := cgroupMemory(filepath.Join(dir, "cgroup"), dir); err == nil {
			t.Errorf("%+v was taken", broken)
		}
	}
}

// TestMemoryLimit asks Go itself, and believes the kernel's files of this very
// process.
func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	debug.SetMemoryLimit(math.MaxInt64)
	t.Setenv("GOMEMLIMIT", strconv.Itoa(1<<40))
	limitMemory(slog.New(slog.DiscardHandler))
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("GOMEMLIMIT is the runtime's business, yet the limit is %d", got)
	}
	t.Setenv("GOMEMLIMIT", "")
	limitMemory(slog.New(slog.DiscardHandler))
	least, _, err := cgroupMemory("/proc/self/cgroup", "/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	want := int64(math.MaxInt64)
	if least > 0 {
		want = int64(float64(least) * memoryShare)
	}
	if got := debug.SetMemoryLimit(-1); got != want {
		t.Errorf("limit %d, the groups say %d", got, least)
	}
}
