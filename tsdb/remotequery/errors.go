package remotequery

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// Kind says what became of a request that has no answer.
type Kind string

// The kinds.
const (
	BadData     Kind = "bad data"    // the store calls the request wrong
	Execution   Kind = "execution"   // the store could not evaluate it
	Timeout     Kind = "timeout"     // no answer in time, or the store says so
	Canceled    Kind = "canceled"    // the caller gave up
	Unavailable Kind = "unavailable" // not reached, not let in, or not able now
	TooLarge    Kind = "too large"   // more bytes or samples than we take
	Garbled     Kind = "garbled"     // not what the API promises
	Unsupported Kind = "unsupported" // native histograms
)

// Error is a request without an answer.
type Error struct {
	Kind    Kind
	Status  int    // of HTTP; 0 without a response
	Message string // for people, of the store or of ours
}

func (e *Error) Error() string { return string(e.Kind) + ": " + e.Message }

// Answered tells whether the store itself did its work: what it refused was
// wrong or too much.
func (e *Error) Answered() bool {
	return e.Kind == BadData || e.Kind == Execution || e.Kind == TooLarge || e.Kind == Unsupported || e.Kind == Canceled
}

// unreachable classes what the HTTP client says. The address that it repeats
// is left out.
func unreachable(ctx context.Context, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Kind: Canceled, Message: "the request was given up"}
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return &Error{Kind: Timeout, Message: "no answer in time"}
	}
	return &Error{Kind: Unavailable, Message: err.Error()}
}

// refused classes an answer of the store that is an error, by its own word,
// else by the status.
func refused(status int, errorType, message string) error {
	e := &Error{Status: status, Message: shortened(message)}
	switch {
	case errorType == "timeout":
		e.Kind = Timeout
	case errorType == "canceled":
		e.Kind = Timeout // not by us: we would not be reading
	case errorType == "unavailable", errorType == "internal", status >= 500,
		status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusTooManyRequests, status == http.StatusNotFound:
		e.Kind = Unavailable
	case errorType == "bad_data", status == http.StatusBadRequest:
		e.Kind = BadData
	case status == http.StatusUnprocessableEntity:
		e.Kind = Execution
	default:
		e.Kind = Unavailable
	}
	return e
}

// shortened is a text as it may stand in a log or on a page.
func shortened(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "?")
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "..."
	}
	return s
}

func garbled(message string) error { return &Error{Kind: Garbled, Message: message} }
