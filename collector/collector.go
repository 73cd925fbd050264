// Package collector decides when each target is polled and hands on what came
// back: samples to the history, facts to the inventory. It knows no protocol;
// each kind of target has a [Source] in a package below this one, and the
// wiring says which.
//
// The [Scheduler] keeps these promises:
//
//   - A target is never polled twice at once, and no poll outlives its
//     deadline, which lies below the target's interval.
//   - A target's slots are fixed by a hash of its name, so that a thousand
//     targets spread over their interval and keep their place across restarts.
//   - Polls are bounded in all. Every kind has slots that no other kind can
//     take, and targets that did not answer last time can hold at most half of
//     what their kind may use: the dead delay the dead.
//   - A slot that passed while the target was still waiting or running is
//     counted as poll debt and never made up for in a burst.
//   - After every poll, also a failed one, up, scrape_duration_seconds and
//     nocturne_poll_partial are written with the target's job and instance.
//   - A series that is gone gets a staleness marker: when a complete poll no
//     longer has it, and when its target is removed. A partial or failed poll
//     says nothing about what it did not see, nor does one whose credential may
//     see more or less than before. A marker that could not be stored comes
//     with the next poll. Which series there were is not remembered over a
//     restart, as with Prometheus: what went while the program was down ends
//     by the lookback of the query, five minutes. Of a target that was taken
//     out meanwhile, whoever knows of it writes [Ended].
package collector

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Target is one thing that is polled.
type Target struct {
	// Name is the target's identity in the whole program and the value of the
	// label instance of all its series. It is not the address.
	Name string
	// Kind chooses the Source: snmp, linux, local, openstack.
	Kind string
	// Address is what the Source connects to, in the Source's own form.
	Address string
	// Site is where the target stands, for the inventory.
	Site string
	// Credential names an entry of the vault.
	Credential string
	// Interval is the time between two polls: 1 s or more, 0 means 1 min.
	Interval time.Duration
	// Timeout is the deadline of one poll. It must be below Interval; 0 means
	// 10 s or four fifths of the interval, whichever is less.
	Timeout time.Duration
	// Labels are for the Source's use and for people; they are not added to
	// the series.
	Labels map[string]string
}

// Sample is one value of one series.
type Sample struct {
	// Labels are all labels of the series: __name__, job, instance and others.
	Labels labels.Labels
	// T is in Unix milliseconds. A Source may leave it 0: the time at which
	// the poll began.
	T int64
	V float64
}

// Fact is what one source saw of one item at one time.
type Fact struct {
	// Kind and Key name the item in the inventory, as Kind + "/" + Key.
	Kind, Key string
	// Formerly is the key under which the item stood before, where that changed.
	Formerly  string
	Name      string
	Fields    map[string]string
	Relations []Relation
	// Binding holds the label equalities that name this item's series.
	Binding map[string]string
	// Neighbour is set on an interface that sees another device.
	Neighbour *Neighbour
}

// Relation goes from a fact's item to another one.
type Relation struct {
	// Type is part-of, runs-on, connected-to, placed-in or member-of.
	Type string
	Kind string
	Key  string
}

// Neighbour is what an interface heard from the other end of its cable
// (IEEE 802.1AB). The subtypes are the words of LLDP-MIB: macAddress,
// interfaceName, local and so on.
type Neighbour struct {
	ChassisID, ChassisIDSubtype string
	PortID, PortIDSubtype       string
	PortDescr                   string
	SysName, SysDescr           string
}

// PartialMetric names the series that is 1 after a poll that was answered and
// did not see all it asked for, or when that remains so of an earlier one, else
// 0. What the credential may not see is no part of it. A target is well seen when up is 1 and
// this is 0.
const PartialMetric = "nocturne_poll_partial"

// Result is what one poll brought.
type Result struct {
	Samples []Sample
	// Facts are handed on when there are any: a poll without facts says
	// nothing about the items of its target.
	Facts []Fact
	// Partial says what was asked for and not seen. The facts of a partial
	// result never mean that something was deleted.
	Partial []error
	// Limited says what the credential may not see, in words that stay the same
	// from poll to poll. All else was seen: what such a poll lacks of what the
	// one before had, within the same limits, is gone.
	Limited []error
	// Remains says what an earlier poll of the target did not see and this one
	// did not ask for: the target is still seen in part only, while what was
	// asked for is whole.
	Remains []error
}

// unseen is what is told of a poll that saw not all there is.
func (r Result) unseen() error { return errors.Join(slices.Concat(r.Partial, r.Remains, r.Limited)...) }

// scope names what the poll could see at all.
func (r Result) scope() string {
	if len(r.Limited) == 0 {
		return ""
	}
	return errors.Join(r.Limited...).Error()
}

// Source polls targets of one kind. It is called for many targets at once,
// for one target never twice at once, and returns when ctx is done. An error
// means that nothing of the target was seen.
type Source interface {
	Poll(ctx context.Context, t Target) (Result, error)
}

// TargetStatus is how it goes with one target.
type TargetStatus struct {
	Target
	// Last and LastOK are when the last poll, and the last one that was not a
	// failure, ended. Zero: there was none.
	Last, LastOK time.Time
	// Err is why the last poll failed, or what it did not or may not see; it
	// names the target. Empty: all was seen.
	Err string
	// Partial says that Err is about a part only.
	Partial bool
	// Duration is how long the last poll took.
	Duration time.Duration
	// Debt is the number of slots that passed without a poll.
	Debt            int
	Polls, Failures uint64
	Running         bool
}

// Job returns the value of the label job of a kind's series.
func Job(kind string) string {
	if kind == "local" { // this machine and others without an agent: one job
		return "linux"
	}
	return kind
}
