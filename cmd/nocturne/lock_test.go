package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nocturne/internal/need"
)

// TestSecondProcessIsRefused starts the product twice on one folder, as real
// processes: the second one names the first, and the first goes on. After a
// kill the file is left behind and is no obstacle.
func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := writeConfig(t, "data: "+dir+"\nlisten: 127.0.0.1:0\ncollector: {local: false}\nlog: {level: error}\n")
	first := startQuiet(t, path)
	held := readHolder(open(t, filepath.Join(dir, lockName)))
	if held.PID != first.cmd.Process.Pid || held.Command != "nocturne serve" || time.Since(held.Since) > time.Minute {
		t.Errorf("the lock says %+v, the process is %d", held, first.cmd.Process.Pid)
	}
	_, err := openHouse(quietConfig(dir), testLog(t), false)
	for _, want := range []string{dir, "nocturne serve", "pid " + strconv.Itoa(first.cmd.Process.Pid), "since "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a second one was told %v, without %q", err, want)
		}
	}
	for _, args := range [][]string{
		{"tsdb", "rollup", "-c", path},
		{"tsdb", "restore", "-c", path, "--from", t.TempDir()},
	} {
		c := command()
		c.SetArgs(args)
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		if err := c.Execute(); !isInUse(err) {
			t.Errorf("%q beside the server: %v", args, err)
		}
	}
	first.kill()
	h, err := openHouse(quietConfig(dir), testLog(t), false)
	if err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// TestLockIsNotInherited gives the lock back while a child process lives on.
func TestLockIsNotInherited(t *testing.T) {
	dir := t.TempDir()
	l, err := lockData(dir, "nocturne test")
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(need.Binary(t, "sleep", "coreutils"), "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait() // it was killed
	}()
	if _, err := lockData(dir, "nocturne test"); !isInUse(err) {
		t.Errorf("locked twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockData(dir, "nocturne test")
	if err != nil {
		t.Fatalf("a child keeps the lock: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestUnusableDataFolder names the folder whatever is wrong with it.
func TestUnusableDataFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken := t.TempDir()
	if err := os.Mkdir(filepath.Join(taken, lockName), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, taken, "/proc/self"} {
		if _, err := lockData(dir, "nocturne test"); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestHolderThatCannotBeRead is refused without a name.
func TestHolderThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	l, err := lockData(dir, "nocturne test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.file.Truncate(3); err != nil {
		t.Fatal(err)
	}
	if _, err := lockData(dir, "nocturne test"); !isInUse(err) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
}

func isInUse(err error) bool {
	_, ok := errors.AsType[*inUseError](err)
	return ok
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// quietConfig polls nothing.
func quietConfig(data string) Config {
	c := DefaultConfig()
	c.Data, c.Listen, c.Collector.Local = data, "127.0.0.1:0", false
	return c
}

// startQuiet starts the product as a process of its own and waits until it
// answers.
func startQuiet(t *testing.T, config string) *process {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childConfig+"="+config)
	p, _ := startProcess(t, c, false)
	return p
}
