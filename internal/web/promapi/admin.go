package promapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/tsdb"
)

// change is what the ledger keeps of a change to the history: before it, and
// with what came of it afterwards.
type change struct {
	Match  []string `json:"match,omitempty"`
	Start  string   `json:"start,omitempty"` // RFC 3339; none is open
	End    string   `json:"end,omitempty"`
	Took   string   `json:"took,omitempty"`
	Result string   `json:"result,omitempty"` // "done", or the error
}

// disabled answers as a Prometheus without --web.enable-admin-api.
func disabled(*http.Request) answer {
	return answer{err: &apiError{"unavailable", http.StatusInternalServerError, errors.New("admin APIs disabled")}}
}

// deleteSeries deletes what the selectors match. Unlike Prometheus it deletes
// nothing when one of them is wrong.
func (a *api) deleteSeries(r *http.Request) answer {
	if err := r.ParseForm(); err != nil {
		return badData(fmt.Errorf("error parsing form values: %w", err))
	}
	c := change{Match: r.Form["match[]"]}
	if len(c.Match) == 0 {
		return badData(errors.New("no match[] parameter provided"))
	}
	from, err := parseTimeParam(r, "start", minTime)
	if err != nil {
		return invalid("start", err)
	}
	to, err := parseTimeParam(r, "end", maxTime)
	if err != nil {
		return invalid("end", err)
	}
	var sets [][]*labels.Matcher
	for _, s := range c.Match {
		ms, err := a.parser.ParseMetricSelector(s)
		if err != nil {
			return invalid("match[]", err)
		}
		if len(ms) > 0 { // {} selects nothing here
			sets = append(sets, ms)
		}
	}
	c.Start, c.End = bound(from, minTime), bound(to, maxTime)
	return a.change(r.Context(), "history.delete", c, func(ctx context.Context) error {
		for _, ms := range sets {
			if err := a.DB.Delete(ctx, ms, from, to); err != nil {
				return err
			}
		}
		return nil
	})
}

// bound is a time in words; none where it is open. Its year may be beyond what
// JSON's times can say.
func bound(t, open time.Time) string {
	if t.Equal(open) {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (a *api) cleanTombstones(r *http.Request) answer {
	return a.change(r.Context(), "history.clean", change{}, a.DB.CleanTombstones)
}

// change does what cannot be undone, with an entry in the ledger before it, so
// that none goes unrecorded, and one with what came of it.
func (a *api) change(ctx context.Context, action string, c change, do func(context.Context) error) answer {
	if err := a.Record(ctx, action, c); err != nil {
		_, why := a.DB.ReadOnly() // a full disk takes no entry either
		return notChanged(errors.Join(why, err))
	}
	start := time.Now()
	err := do(ctx)
	c.Took, c.Result = time.Since(start).Round(time.Millisecond).String(), "done"
	if err != nil {
		action, c.Result = action+" failed", err.Error()
	} else {
		action += " done"
	}
	if err = errors.Join(err, a.Record(ctx, action, c)); err != nil {
		return notChanged(err)
	}
	return answer{}
}

// notChanged names the errors of a change: what passes by itself, what is to be
// done elsewhere, as Prometheus' agent says it, and all else.
func notChanged(err error) answer {
	switch {
	case errors.Is(err, tsdb.ErrReadOnly):
		return answer{err: &apiError{"unavailable", http.StatusServiceUnavailable, err}}
	case errors.Is(err, tsdb.ErrElsewhere):
		return answer{err: &apiError{"execution", http.StatusUnprocessableEntity, err}}
	}
	return internal(err)
}
