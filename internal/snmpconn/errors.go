package snmpconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/gosnmp/gosnmp"
)

// Class says what kind of thing went wrong.
type Class string

// The classes of an Error.
const (
	// Timeout: nobody answered. An agent without SNMPv3 does not answer a
	// wrong community, so it may be that as well.
	Timeout Class = "timeout"
	// Refused: the host says that nothing listens there.
	Refused Class = "refused"
	// Credentials: the agent says that user, keys or level are wrong.
	Credentials Class = "credentials"
	// Garbled: answers came that cannot be read, or belong to no request.
	Garbled Class = "garbled"
	// Status: the agent answered with an error-status (RFC 3416, 3).
	Status Class = "status"
	// Order: the agent's objects do not ascend, so a walk would not end.
	Order Class = "order"
	// Bound: a table has more rows than are read.
	Bound Class = "bound"
	// Config: the credential or the address cannot be used.
	Config Class = "config"
	// Canceled: the caller's context ended before the answer came.
	Canceled Class = "canceled"
)

// Error is what every error of this package is. It names the agent's address.
type Error struct {
	Class   Class
	Address string
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("snmp %s: %v", e.Address, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of an error of this package, else "".
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ""
}

// fail makes an Error of this session.
func (s *Session) fail(c Class, format string, args ...any) *Error {
	return &Error{Class: c, Address: s.address, Err: fmt.Errorf(format, args...)}
}

// statusError makes an Error of an error-status.
func (s *Session) statusError(status gosnmp.SNMPError) *Error {
	if status == gosnmp.AuthorizationError {
		return s.fail(Credentials, "agent answers %s: the user may not read this at this security level", status)
	}
	return s.fail(Status, "agent answers %s", status)
}

// usmReports says what an agent's report means (RFC 3414, 5).
var usmReports = map[string]string{
	"1.3.6.1.6.3.15.1.1.1.0": "the agent does not offer this user the wanted security level",
	"1.3.6.1.6.3.15.1.1.3.0": "the agent does not know the user",
	"1.3.6.1.6.3.15.1.1.5.0": "the agent rejects the signature: wrong authentication passphrase or protocol",
	"1.3.6.1.6.3.15.1.1.6.0": "the agent cannot decrypt: wrong privacy passphrase or protocol",
}

// usmErrors are the same, as gosnmp says them.
var usmErrors = map[error]string{
	gosnmp.ErrUnknownSecurityLevel: "1.3.6.1.6.3.15.1.1.1.0",
	gosnmp.ErrUnknownUsername:      "1.3.6.1.6.3.15.1.1.3.0",
	gosnmp.ErrWrongDigest:          "1.3.6.1.6.3.15.1.1.5.0",
	gosnmp.ErrDecryption:           "1.3.6.1.6.3.15.1.1.6.0",
}

// classify says what gosnmp's error of one exchange means.
func (s *Session) classify(ctx context.Context, err error) *Error {
	if what := s.report(err); what != "" {
		return s.fail(Credentials, "user %q: %s", s.cred.User, what)
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return s.fail(Refused, "no agent listens there: %w", err)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return s.fail(Timeout, "unreachable: %w", err)
	case errors.Is(ctx.Err(), context.Canceled):
		return s.fail(Canceled, "%w", ctx.Err())
	}
	silent := errors.Is(err, gosnmp.ErrMaxRetriesExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		strings.Contains(err.Error(), "timeout")
	switch v := s.cred.version(); {
	case !silent:
	case s.tap != nil && s.tap.heard > 0 && v != "3":
		return s.fail(Timeout, "no answer that belongs to the request: %w", err)
	case s.agent.spoke:
		return s.fail(Timeout, "no answer any more: %w", err)
	case v == "3" && s.agent.usm.AuthoritativeEngineID != "":
		// Agents drop what they cannot decrypt, some without a report.
		return s.fail(Timeout, "agent answers the discovery and nothing else: wrong privacy passphrase or protocol, or overloaded: %w", err)
	case v == "3":
		return s.fail(Timeout, "no answer: unreachable, or no SNMPv3 agent: %w", err)
	default:
		return s.fail(Timeout, "no answer: unreachable, or wrong community (SNMPv%s does not tell which): %w", v, err)
	}
	if what, _, ok := strings.Cut(err.Error(), " Stack:"); ok { // gosnmp panicked over it
		return s.fail(Garbled, "answer cannot be read: %s", what)
	}
	return s.fail(Garbled, "answer cannot be read: %w", err)
}

// report returns what the agent complained of, "" for nothing. Once gosnmp
// knows the engine it discards reports that are not signed, and those about a
// wrong user or key never are: so the message itself is looked at. It is a
// hint to people only.
func (s *Session) report(err error) string {
	for e, oid := range usmErrors {
		if errors.Is(err, e) {
			return usmReports[oid]
		}
	}
	if s.cred.version() != "3" || s.tap == nil || len(s.tap.last) == 0 {
		return ""
	}
	return usmReports[reportOID(s.tap.last)]
}

// reportOID returns the object of a plain SNMPv3 report, "" for anything else.
func reportOID(message []byte) (oid string) {
	defer func() {
		if recover() != nil { // gosnmp on a message that nobody has checked
			oid = ""
		}
	}()
	g := &gosnmp.GoSNMP{
		Version: gosnmp.Version3, SecurityModel: gosnmp.UserSecurityModel, MsgFlags: gosnmp.NoAuthNoPriv,
		SecurityParameters: &gosnmp.UsmSecurityParameters{UserName: "report"},
	}
	p, err := g.SnmpDecodePacket(message)
	if err != nil || p.PDUType != gosnmp.Report || len(p.Variables) != 1 {
		return ""
	}
	return strings.TrimPrefix(p.Variables[0].Name, ".")
}
