package listen

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/need"
)

// childLimit makes this test binary a server with so many file descriptors.
const childLimit = "NOCTURNE_TEST_DESCRIPTORS"

// child prints its address and serves until its input ends.
func child() int {
	most, err := strconv.ParseUint(os.Getenv(childLimit), 10, 64)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: most})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := Open(Options{Address: "127.0.0.1:0", Handler: http.HandlerFunc(hello), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Limits: Limits{HeaderTime: time.Minute, IdleTime: time.Minute}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }()
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestOutOfDescriptors fills a server that may have 64 files open: with
// connections that are silent it waits, says so and goes on; idle ones make
// room for who asks.
func TestOutOfDescriptors(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childLimit+"=64")
	said := &lines{}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v:\n%s", err, said)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	x := &site{t: t, addr: strings.TrimSpace(line), log: said}

	var silent []net.Conn
	for range 100 {
		silent = append(silent, x.dial("127.0.0.1"))
	}
	need.Until(t, "the log names it", func() bool {
		return strings.Contains(said.String(), "level=ERROR") && strings.Contains(said.String(), "too many open files")
	})
	for _, c := range silent {
		_ = c.Close()
	}
	need.Within(t, 20*time.Second, func() error {
		c, err := net.Dial("tcp", x.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		return ask(c)
	})
	need.Within(t, 20*time.Second, func() error {
		c := x.dial("127.0.0.1")
		defer c.Close()
		if err := ask(c); err != nil {
			t.Fatalf("after it was said to be over: %v", err)
		}
		if !strings.Contains(said.String(), "connections are taken again") {
			return fmt.Errorf("the end is not in the log:\n%s", said)
		}
		return nil
	})
	// Each stays after its answer; more than there are descriptors.
	for n := range 150 {
		if err := ask(x.dial("127.0.0.1")); err != nil {
			t.Fatalf("client %d beside idle ones: %v", n, err)
		}
	}
	if n := strings.Count(said.String(), "level=ERROR"); n > 10 {
		t.Errorf("the log says it %d times", n)
	}
}
