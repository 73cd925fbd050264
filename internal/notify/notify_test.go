package notify

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// manager is the service manager's end.
func manager(t *testing.T, name string) func() string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("nothing was said: %v", err)
		}
		return string(b[:n])
	}
}

func TestWords(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@nocturne-test-" + strconv.Itoa(os.Getpid())} {
		hear := manager(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		s, err := New()
		if err != nil {
			t.Fatal(err)
		}
		if left, set := os.LookupEnv("NOTIFY_SOCKET"); set {
			t.Errorf("a child would be told to speak to %q", left)
		}
		for _, c := range []struct {
			say  func() error
			want string
		}{
			{s.Ready, "READY=1"},
			{s.Stopping, "STOPPING=1"},
			{func() error { return s.Status("not ready: a\nREADY=1") }, "STATUS=not ready: a READY=1"},
		} {
			if err := c.say(); err != nil {
				t.Fatal(err)
			}
			if got := hear(); got != c.want {
				t.Errorf("said %q, want %q", got, c.want)
			}
		}
		reloading(t, s, hear)
	}
}

// reloading holds the time that is sent against the kernel's, read around it.
func reloading(t *testing.T, s *Socket, hear func() string) {
	t.Helper()
	usec := func() int64 {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		return now.Nano() / 1000
	}
	before := usec()
	if err := s.Reloading(); err != nil {
		t.Fatal(err)
	}
	after := usec()
	word, stamp, _ := strings.Cut(hear(), "\nMONOTONIC_USEC=")
	if n, err := strconv.ParseInt(stamp, 10, 64); word != "RELOADING=1" || err != nil || n < before || n > after {
		t.Errorf("said %q at %q, want RELOADING=1 at %d to %d", word, stamp, before, after)
	}
}

func TestNobodyListens(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Ready(), s.Reloading(), s.Stopping(), s.Status("x")); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if s, err = New(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(); err == nil {
		t.Error("a word to a socket that is not there counts as said")
	}
}

func TestVariables(t *testing.T) {
	here := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		socket, usec, pid string
		watchdog          time.Duration
		fault             string
	}{
		{"/run/x", "30000000", here, 30 * time.Second, ""},
		{"/run/x", "30000000", "", 30 * time.Second, ""},
		{"/run/x", "30000000", "1", 0, ""}, // another process's
		{"/run/x", "", here, 0, ""},
		{"", "30000000", here, 0, ""},
		{"/run/x", "soon", here, 0, "WATCHDOG_USEC"},
		{"/run/x", "0", here, 0, "WATCHDOG_USEC"},
		{"vsock:2:1", "", "", 0, "NOTIFY_SOCKET"},
	} {
		t.Setenv("NOTIFY_SOCKET", c.socket)
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		s, err := New()
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil || s.watchdog != c.watchdog {
			t.Errorf("%+v: %v, %v", c, s, err)
		}
	}
}

// TestHungProcessGivesNoSign holds the times of the signs, and has the parts
// hang in between.
func TestHungProcessGivesNoSign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var signs []time.Duration
		start := time.Now()
		s := &Socket{watchdog: 30 * time.Second, say: func(state string) error {
			if state != "WATCHDOG=1" {
				t.Errorf("said %q", state)
			}
			signs = append(signs, time.Since(start))
			return nil
		}}
		alive := func() {
			if at := time.Since(start); at >= 40*time.Second && at < 100*time.Second {
				time.Sleep(100*time.Second - at) // the bubble's clock
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 115*time.Second)
		defer cancel()
		if err := s.Run(ctx, alive, func(err error) { t.Error(err) }); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second, 100 * time.Second, 100 * time.Second, 110 * time.Second}
		if len(signs) != len(want) {
			t.Fatalf("signs at %v, want %v", signs, want)
		}
		for i := range want {
			if signs[i] != want[i] {
				t.Errorf("sign %d at %v, want %v", i, signs[i], want[i])
			}
		}
	})
}

func TestWithoutWatchdogRunWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Socket{say: func(state string) error { t.Errorf("said %q", state); return nil }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		if err := s.Run(ctx, func() { t.Error("asked") }, nil); err != nil || time.Since(start) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
