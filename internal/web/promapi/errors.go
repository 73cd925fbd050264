package promapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/prometheus/promql"
)

// apiError is an error with Prometheus' name for its kind.
type apiError struct {
	kind   string
	status int
	err    error
}

// statusClientClosed is nginx's code for a client that went away.
const statusClientClosed = 499

func badData(err error) answer {
	return answer{err: &apiError{"bad_data", http.StatusBadRequest, err}}
}

func internal(err error) answer {
	return answer{err: &apiError{"internal", http.StatusInternalServerError, err}}
}

func invalid(parameter string, err error) answer {
	return badData(fmt.Errorf("invalid parameter %q: %w", parameter, err))
}

// notPrepared tells a query that is wrong from one that got no slot in time.
func notPrepared(err error) answer {
	if e := classify(err); e.kind == "timeout" || e.kind == "canceled" {
		return answer{err: e}
	}
	return invalid("query", err)
}

// classify names an error of the store or the engine.
func classify(err error) *apiError {
	if _, ok := errors.AsType[promql.ErrQueryCanceled](err); ok || errors.Is(err, context.Canceled) {
		return &apiError{"canceled", statusClientClosed, err}
	}
	if _, ok := errors.AsType[promql.ErrQueryTimeout](err); ok {
		return &apiError{"timeout", http.StatusServiceUnavailable, err}
	}
	if _, ok := errors.AsType[promql.ErrStorage](err); ok {
		return &apiError{"internal", http.StatusInternalServerError, err}
	}
	return &apiError{"execution", http.StatusUnprocessableEntity, err}
}
