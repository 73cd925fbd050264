package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/prometheus/prometheus/promql"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/automation/inspection"
	"nocturne/collector"
	"nocturne/internal/access"
	"nocturne/internal/backup"
	"nocturne/internal/state"
	"nocturne/internal/strictyaml"
	"nocturne/tsdb"
)

// notFound is a thing that a path names and that does not exist.
type notFound struct{ what string }

func (e notFound) Error() string { return "there is no " + e.what }

// invalid is a form or body that cannot be taken; its text is for people.
type invalid struct{ text string }

func (e invalid) Error() string { return e.text }

// statusOf is the one table from an error to an HTTP status and a sentence for
// people. What is in no row is our fault: 500, and its text goes to the log
// alone.
func statusOf(err error) (int, string) {
	var (
		nf notFound
		iv invalid
		kr errKeyReused
		ua unauthorized
		sf *strictyaml.Fault
		rf *RefusedError
		// A query says these in its own words.
		late promql.ErrQueryTimeout
		gone promql.ErrQueryCanceled
	)
	switch {
	case errors.As(err, &nf):
		return http.StatusNotFound, nf.Error()
	case errors.As(err, &rf):
		return http.StatusConflict, err.Error()
	case errors.As(err, &iv), errors.As(err, &sf):
		return http.StatusBadRequest, err.Error()
	case errors.As(err, &kr):
		return http.StatusUnprocessableEntity, kr.Error()
	case errors.Is(err, state.ErrNotFound), errors.Is(err, access.ErrNotFound), errors.Is(err, automation.ErrNoJob),
		errors.Is(err, inspection.ErrUnknown), errors.Is(err, collector.ErrUnknownTarget):
		return http.StatusNotFound, "there is no such thing"
	case errors.As(err, &ua):
		return http.StatusUnauthorized, ua.Error()
	case errors.Is(err, access.ErrDenied):
		return http.StatusForbidden, "your role does not allow this"
	case errors.Is(err, access.ErrExpired):
		return http.StatusUnauthorized, "the session is over; sign in again"
	case errors.Is(err, access.ErrLocked):
		return http.StatusTooManyRequests, "too many tries; wait a few minutes"
	case errors.Is(err, access.ErrNextKey), errors.Is(err, access.ErrRotating):
		return http.StatusConflict, err.Error()
	case errors.Is(err, automation.ErrInvalid), errors.Is(err, access.ErrInvalid):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, access.ErrExists), errors.Is(err, access.ErrLastAdministrator):
		return http.StatusConflict, err.Error()
	case errors.Is(err, alerting.ErrNotFiring), errors.Is(err, alerting.ErrNotStale), errors.Is(err, automation.ErrPhase):
		return http.StatusConflict, err.Error()
	case errors.Is(err, automation.ErrBusy):
		return http.StatusServiceUnavailable, "too many jobs wait; try again when some have ended"
	case errors.Is(err, state.ErrReadOnly):
		return http.StatusServiceUnavailable, "nothing can be changed now: the disk of the state has no room; it goes on by itself once there is some"
	case errors.Is(err, backup.ErrBusy), errors.Is(err, backup.ErrNowhere):
		return http.StatusConflict, err.Error()
	case errors.Is(err, state.ErrConflict):
		return http.StatusConflict, "somebody changed this at the same time; look again"
	case errors.Is(err, tsdb.ErrRemote):
		return http.StatusBadGateway, "the remote store of history does not answer; what it holds is not seen"
	case errors.Is(err, tsdb.ErrBehind):
		return http.StatusServiceUnavailable, "the remote store of history lacks the newest samples; what is now is not seen"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late):
		return http.StatusGatewayTimeout, "the answer took too long"
	case errors.Is(err, context.Canceled), errors.As(err, &gone):
		return 499, "the client went away"
	}
	return http.StatusInternalServerError, "something broke here; the log has the cause"
}
