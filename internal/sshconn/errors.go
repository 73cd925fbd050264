package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Class says in which way a host was not reached, or a command's outcome lost.
type Class string

// The classes. All but Lost mean that the command was not sent.
const (
	Refused        Class = "refused"         // nothing listens
	Unreachable    Class = "unreachable"     // no route, no such name
	Timeout        Class = "timeout"         // a deadline before the command was sent
	Reset          Class = "reset"           // the connection ended while opening: MaxStartups, a restarting sshd; retryable
	Handshake      Class = "handshake"       // not SSH, or no common algorithm
	HostKeyUnknown Class = "hostkey-unknown" // no key is pinned
	HostKeyChanged Class = "hostkey-changed" // another key is pinned
	Auth           Class = "auth"            // the login was refused
	Session        Class = "session"         // no session on an open connection
	Lost           Class = "lost"            // sent, and no exit status came: the outcome is unknown
	Canceled       Class = "canceled"        // the caller's context ended, or the pool was closed
	BadCredential  Class = "credential"      // the credential is missing or its key does not parse
	Aborted        Class = "aborted"         // BeforeSend refused
	Busy           Class = "busy"            // the pool's own bounds on openings left no time
)

// Error is why Exec has no exit status.
type Error struct {
	Class Class
	Host  Host
	Err   error
}

func (e *Error) Error() string {
	return fmt.Sprintf("ssh %s (%s): %s: %v", e.Host.Name, e.Host.address(), e.Class, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Sent tells whether the exec request may have gone out. False is a promise
// that it did not.
func (e *Error) Sent() bool { return e.Class == Lost }

// Retryable tells whether the same may succeed a moment later.
func (e *Error) Retryable() bool { return e.Class == Reset }

// Reach tells whether the host was tried, and whether it answered as SSH though
// it was not as wished: its key or ours was refused. What our own side prevented
// says nothing of the way to the host.
func (e *Error) Reach() (answered, tried bool) {
	switch e.Class {
	case Auth, HostKeyUnknown, HostKeyChanged:
		return true, true
	case BadCredential, Canceled, Aborted, Session, Busy:
		return false, false
	}
	return false, true
}

func fail(h Host, c Class, format string, args ...any) *Error {
	return &Error{Class: c, Host: h, Err: fmt.Errorf(format, args...)}
}

// ended is the error of a context that ended before anything was sent.
func ended(ctx context.Context, h Host, doing string) *Error {
	c := Canceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c = Timeout
	}
	return fail(h, c, "%s: %w", doing, context.Cause(ctx))
}

// busy is the error of a context that ended while our own bounds held an
// opening back.
func busy(ctx context.Context, h Host, doing string) *Error {
	e := ended(ctx, h, doing)
	if e.Class == Timeout {
		e.Class = Busy
	}
	return e
}

// dialClass names the class of a failed TCP connect.
func dialClass(err error) Class {
	ne, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case isReset(err):
		return Reset
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), isNet && ne.Timeout():
		return Timeout
	}
	return Unreachable
}

// isReset tells a connection that the other side ended.
func isReset(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
