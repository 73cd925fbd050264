package alerting

import "time"

// step is what one evaluation does to one alert.
type step struct {
	to        string    // the new phase; "" leaves it
	keepUntil time.Time // for keep_firing_for
	stale     bool
	reason    string
}

// observation is what one evaluation found of one alert.
type observation struct {
	at    time.Time
	holds bool  // the condition is true
	sight sight // of a firing alert whose condition is not true
}

// begin is the phase of an alert whose condition has just become true.
func (r *rule) begin() string {
	if r.hold == 0 {
		return Firing
	}
	return Pending
}

// notAfter is t for a clock that says ts. What it holds of later times was
// noted before the clock was set back, and would be waited for until then.
func (t *tracked) notAfter(ts time.Time, keep time.Duration) *tracked {
	out := *t
	if out.since.After(ts) {
		out.since = ts
	}
	if out.rec.Alert.Phase == Pending && out.rec.Alert.ActiveAt.After(ts) {
		out.rec.Alert.ActiveAt = ts
	}
	if out.keepUntil.After(ts.Add(keep)) {
		out.keepUntil = ts.Add(keep)
	}
	return &out
}

// next decides what becomes of a pending or firing alert.
func (r *rule) next(phase string, activeAt, keepUntil time.Time, o observation) step {
	switch {
	case phase == Pending && !o.holds:
		return step{to: Resolved, reason: "did not hold for " + r.hold.String()}
	case phase == Pending && o.at.Sub(activeAt) >= r.hold:
		return step{to: Firing}
	case phase == Pending || o.holds:
		return step{}
	case o.sight.removed:
		return step{to: Resolved, reason: o.sight.reason}
	case !o.sight.seen:
		return step{keepUntil: keepUntil, stale: true, reason: o.sight.reason}
	}
	if keepUntil.IsZero() {
		keepUntil = o.at.Add(r.keep)
	}
	if o.at.Before(keepUntil) {
		return step{keepUntil: keepUntil}
	}
	return step{to: Resolved, reason: o.sight.reason}
}
