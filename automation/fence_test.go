package automation

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/need"
)

// shells are login shells that hosts have, with what makes them run a text.
var shells = [][]string{{"dash", "-c"}, {"bash", "-c"}, {"busybox", "sh", "-c"}, {"mksh", "-c"}}

// account is somebody's login on a host: a shell and a home.
type account struct {
	t     *testing.T
	shell []string
	home  string
	env   []string
}

// command is one that sshd would start: the leader of a session of its own.
func (a account) command(text string) *exec.Cmd {
	c := exec.Command(a.shell[0], append(a.shell[1:], text)...)
	c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + a.home, "T=" + a.home + "-t"}, a.env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return c
}

func (a account) run(text string) (out string, exit int) {
	a.t.Helper()
	c := a.command(text)
	b, err := c.CombinedOutput()
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		if ws := ee.Sys().(syscall.WaitStatus); ws.Signaled() {
			return string(b), 128 + int(ws.Signal())
		}
	} else if err != nil {
		a.t.Fatal(err)
	}
	return string(b), c.ProcessState.ExitCode()
}

// marks are what stands in the home.
func (a account) marks() []string {
	a.t.Helper()
	names, err := filepath.Glob(filepath.Join(a.home, ".nocturne-*"))
	if err != nil {
		a.t.Fatal(err)
	}
	return names
}

func inEachShell(t *testing.T, f func(t *testing.T, a account)) {
	for _, shell := range shells {
		t.Run(shell[0], func(t *testing.T) {
			need.Binary(t, shell[0], shell[0])
			a := account{t: t, shell: shell, home: filepath.Join(t.TempDir(), "a home's")}
			for _, dir := range []string{a.home, a.home + "-t"} {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			f(t, a)
		})
	}
}

// TestFenceKeepsTheCommandAsItIs runs commands with and without a fence: output
// and status are the same, and nothing stays behind.
func TestFenceKeepsTheCommandAsItIs(t *testing.T) {
	inEachShell(t, func(t *testing.T, a account) {
		for _, cmd := range []string{
			"echo out; echo err >&2", "exit 7", "false", "(exit 125)", "exit 126", "no-such-program-here 2>/dev/null",
			"true # it's a comment", "cat <<E\nit's $((1+1))\nE", "cat <<'E'\n$HOME `x`\nE\n", "printf '%s\\n' 'a  b' \"c'd\" \\$x", "kill -TERM $$",
			"cat; echo ended", "for i in 1 2; do\necho $i\ndone", "exec sh -c 'exit 9'", "set -e; false; echo no", "cd / && pwd", "echo a | grep b",
			"x=1; echo $x; unset x", "if true; then (exit 3); fi", "echo COMMAND MARK", "trap 'echo bye' EXIT; exit 4", "umask", "test -z \"$nocturne_x\"", "ls -A \"$HOME\" | grep -c -v nocturne",
			"sleep 0 & wait", "{ echo 1; echo 2; } 2>&1",
		} {
			want, status := a.run(cmd)
			got, exit := a.run(fence(fenceStep, "0123", cmd))
			if got != want || exit != status {
				t.Errorf("%q: status %d, output %q; without a fence %d, %q", cmd, exit, got, status, want)
			}
			// A command that kills its own shell leaves a mark, as a lost one does.
			if m := a.marks(); (len(m) > 0) != strings.Contains(cmd, "TERM $$") {
				t.Errorf("%q leaves %q", cmd, m)
			}
			if err := os.RemoveAll(filepath.Join(a.home, ".nocturne-0123")); err != nil {
				t.Fatal(err)
			}
			if got, exit := a.run(fence(fenceProbe, "0123", cmd)); got != want || exit != status {
				t.Errorf("probe %q: status %d, output %q; without a fence %d, %q", cmd, exit, got, status, want)
			}
			if err := os.RemoveAll(filepath.Join(a.home, ".nocturne-0123")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// until waits for a file that a command makes.
func (a account) until(name string) {
	a.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(a.home+"-t", name)); err == nil {
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("no file %s in 20 s", name)
		}
	}
}

func (a account) touch(name string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.home+"-t", name), nil, 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// TestProbeWaitsForTheCommand asks while the command runs, while only a child of
// its killed shell does, and when all is over.
func TestProbeWaitsForTheCommand(t *testing.T) {
	inEachShell(t, probeWaits)
	t.Run("behind a ForceCommand", func(t *testing.T) {
		inEachShell(t, func(t *testing.T, a account) {
			a.shell = append([]string{"/bin/sh", "-c", `"$@"; exit $?`, "sh"}, a.shell...)
			probeWaits(t, a)
		})
	})
}

func probeWaits(t *testing.T, a account) {
	const cmd = `sh -c 'trap "" TERM; touch "$T/began"; while [ ! -e "$T/go" ]; do sleep 0.02; done; touch "$T/effect"'; true`
	probe := fence(fenceProbe, "aa", `test -e "$T/effect"`)
	c := a.command(fence(fenceStep, "aa", cmd))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	a.until("began")
	if _, exit := a.run(probe); exit != undecidedExit {
		t.Errorf("while it runs the probe says %d", exit)
	}
	// As sshd passes on what Exec sends when nobody waits any more. Some shells
	// wait for their child before they heed it.
	if err := errors.Join(syscall.Kill(-c.Process.Pid, syscall.SIGTERM), c.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if _, exit := a.run(probe); exit != undecidedExit {
		t.Errorf("while its child runs the probe says %d", exit)
	}
	a.touch("go")
	a.until("effect")
	exit, orphans := undecidedExit, time.Time{} // since when only those are left that nobody reaps
	for end := time.Now().Add(20 * time.Second); exit == undecidedExit && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, exit = a.run(probe)
		if !zombies(c.Process.Pid) {
			orphans = time.Time{}
		} else if orphans.IsZero() {
			orphans = time.Now()
		} else if time.Since(orphans) > 3*time.Second {
			t.Skip("needs an init that reaps orphans: here a process that has ended stays, and the probe rightly waits")
		}
	}
	if exit != 0 {
		t.Errorf("when it is over the probe says %d", exit)
	}
}

// zombies tells whether a group is there whose processes have all ended: where
// nobody reaps orphans, as in some containers, they stay.
func zombies(group int) bool {
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	found := false
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 3 || f[2] != strconv.Itoa(group) {
			continue
		}
		if f[0] != "Z" {
			return false
		}
		found = true
	}
	return found
}

// TestLateCommandRefusesItself: behind a probe the command does not begin, and
// the probe says the same however often it is asked.
func TestLateCommandRefusesItself(t *testing.T) {
	inEachShell(t, func(t *testing.T, a account) {
		for range 3 {
			if out, exit := a.run(fence(fenceProbe, "bb", "echo asked; exit 1")); exit != 1 || out != "asked\n" {
				t.Fatalf("probe: %d, %q", exit, out)
			}
		}
		out, exit := a.run(fence(fenceStep, "bb", `touch "$T/effect"`))
		if exit != fenceShut || !strings.Contains(out, "the command was not run") {
			t.Errorf("the late command: %d, %q", exit, out)
		}
		if _, err := os.Stat(a.home + "-t/effect"); err == nil {
			t.Error("it ran")
		}
		if out, exit := a.run(fence(fenceStep, "cc", `touch "$T/effect"`)); exit != 0 || out != "" {
			t.Errorf("the next sending: %d, %q", exit, out)
		}
	})
}

// TestFenceWithoutAPlace: where no mark can be made nothing is run and nothing
// is said.
func TestFenceWithoutAPlace(t *testing.T) {
	inEachShell(t, func(t *testing.T, a account) {
		effect := a.home + "-t/effect"
		step, probe := fence(fenceStep, "dd", "touch '"+effect+"'"), fence(fenceProbe, "dd", "exit 1")
		for _, home := range []string{"/proc", a.home + "/gone"} { // nobody can write to the one, the other is not there
			b := a
			b.home = home
			if out, exit := b.run(step); exit != fenceShut || !strings.Contains(out, home) {
				t.Errorf("HOME=%s: %d, %q", home, exit, out)
			}
			if _, exit := b.run(probe); exit != undecidedExit {
				t.Errorf("HOME=%s: the probe says %d", home, exit)
			}
			if _, err := os.Stat(effect); err == nil {
				t.Fatal("it ran")
			}
		}
		for _, home := range []string{"", "/", "/nonexistent"} {
			mark := "test" + strconv.Itoa(os.Getpid())
			t.Cleanup(func() { os.RemoveAll("/var/tmp/.nocturne-" + mark) })
			b := a
			b.home = home
			if out, exit := b.run(fence(fenceProbe, mark, "ls -d /var/tmp/.nocturne-"+mark)); exit != 0 || !strings.Contains(out, mark) {
				t.Errorf("HOME=%s: the probe says %d, %q", home, exit, out)
			}
			if out, exit := b.run(fence(fenceStep, mark, "true")); exit != fenceShut || !strings.Contains(out, "/var/tmp/.nocturne-") {
				t.Errorf("HOME=%s: the late command: %d, %q", home, exit, out)
			}
			if err := os.RemoveAll("/var/tmp/.nocturne-" + mark); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestProbeReadsMarks gives the probe marks as they may stand on a host.
func TestProbeReadsMarks(t *testing.T) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skipf("needs the kernel's boot_id: %v", err)
	}
	here := strings.TrimSpace(string(boot))
	alive := exec.Command("sleep", "60")
	alive.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := alive.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = alive.Process.Kill(); _ = alive.Wait() })
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	pid, gone := strconv.Itoa(alive.Process.Pid), strconv.Itoa(dead.Process.Pid)
	inEachShell(t, func(t *testing.T, a account) {
		mark := filepath.Join(a.home, ".nocturne-ee")
		f := func(what, text string, want int) {
			t.Helper()
			if err := os.MkdirAll(mark, 0o777); err != nil {
				t.Fatal(err)
			}
			if text != "" {
				if err := os.WriteFile(filepath.Join(mark, "pid"), []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if out, exit := a.run(fence(fenceProbe, "ee", "exit 5")); exit != want || out != "" {
				t.Errorf("%s: %d, %q, want %d", what, exit, out, want)
			}
			if err := os.RemoveAll(mark); err != nil {
				t.Fatal(err)
			}
		}
		f("just being made", "", undecidedExit)
		f("runs", pid+" "+here, undecidedExit)
		f("runs, on a kernel without boot_id", pid+" ", undecidedExit)
		f("ended", gone+" "+here, 5)
		f("of an earlier boot, the number is another's now", pid+" 00000000-0000-0000-0000-000000000000", 5)
		f("not a mark", "what?", undecidedExit)
		old := filepath.Join(a.home, ".nocturne-old")
		if err := os.Mkdir(old, 0o700); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-40 * 24 * time.Hour)
		if err := os.Chtimes(old, then, then); err != nil {
			t.Fatal(err)
		}
		f("beside an old one", gone+" "+here, 5)
		if len(a.marks()) != 0 {
			t.Errorf("%q is still there", a.marks())
		}
	})
}

// TestProbeOfAnotherUsersProcess: what the probe may not signal is there. The
// step ran by sudo, its shell is gone.
func TestProbeOfAnotherUsersProcess(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skipf("needs the kernel's boot_id: %v", err)
	}
	alive := exec.Command("sleep", "60")
	alive.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := alive.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = alive.Process.Kill(); _ = alive.Wait() })
	home, err := os.MkdirTemp("/var/tmp", "nocturne-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	mark := filepath.Join(home, ".nocturne-ff")
	for _, dir := range []string{home, mark} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(mark, "pid"), []byte(strconv.Itoa(alive.Process.Pid)+" "+string(boot)), 0o644); err != nil {
		t.Fatal(err)
	}
	inEachShell(t, func(t *testing.T, a account) {
		a.home = home
		c := a.command(fence(fenceProbe, "ff", "exit 5"))
		c.Dir = "/"
		c.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		out, err := c.CombinedOutput()
		if c.ProcessState == nil || c.ProcessState.ExitCode() != undecidedExit {
			t.Errorf("%v, %q", err, out)
		}
	})
}
