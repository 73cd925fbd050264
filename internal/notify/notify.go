// Package notify tells the service manager how this process fares, by the
// protocol of sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names.
// Where none is named, as on a terminal, nothing is said.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is where the service manager listens.
type Socket struct {
	say      func(state string) error
	watchdog time.Duration // within which it wants a sign of life; 0 is never
}

// New reads the variables that the service manager sets, and takes them out of
// the environment: a process that this one starts must not speak for it.
func New() (*Socket, error) {
	name, usec, pid := os.Getenv("NOTIFY_SOCKET"), os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if err := os.Unsetenv(v); err != nil {
			return nil, fmt.Errorf("take %s out of the environment: %w", v, err)
		}
	}
	s := &Socket{say: func(string) error { return nil }}
	switch {
	case name == "":
		return s, nil
	case name[0] != '/' && name[0] != '@':
		return nil, fmt.Errorf("NOTIFY_SOCKET: %q is neither a path nor an abstract name", name)
	}
	s.say = func(state string) error { return send(name, state) }
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return s, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 {
		return nil, fmt.Errorf("WATCHDOG_USEC: %q is no number of microseconds", usec)
	}
	s.watchdog = time.Duration(n) * time.Microsecond
	return s, nil
}

// send dials anew for each word: the service manager may have been replaced
// since the last one.
func send(name, state string) (err error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	// It reads when it comes to it; a full queue must not hold us.
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// Ready says that the start, or a reload, is done.
func (s *Socket) Ready() error { return s.say("READY=1") }

// Reloading says that the configuration is read anew; Ready ends it.
func (s *Socket) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	return s.say(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// Stopping says that the end has begun.
func (s *Socket) Stopping() error { return s.say("STOPPING=1") }

// Status is the line that people see in `systemctl status`. A line's end in it
// would begin a word of its own, and becomes a blank.
func (s *Socket) Status(text string) error {
	return s.say("STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text))
}

// Run gives the signs of life that the service manager asked for, three in the
// time within which it wants one, until ctx ends. Before each it calls alive,
// which asks the parts that must not hang: while that does not return no sign
// is given, and the service manager ends a process that helps nobody. failed
// is told of a sign that could not be given.
func (s *Socket) Run(ctx context.Context, alive func(), failed func(error)) error {
	if s.watchdog == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(s.watchdog / 3)
	defer tick.Stop()
	for {
		alive()
		if err := s.say("WATCHDOG=1"); err != nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
