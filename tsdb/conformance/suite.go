package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// Store is what the suite asks of a store. Append and Select are called from
// many goroutines at once.
type Store interface {
	// Append adds a point to a series; t is Unix time in milliseconds.
	Append(series string, t int64, v float64) error
	// Sync returns once all that was appended is acknowledged.
	Sync() error
	// Select returns the points of a series from from to to, both included.
	Select(series string, from, to int64) ([]Point, error)
	Close() error
}

// Point is a value at Unix time T in milliseconds.
type Point struct {
	T int64
	V float64
}

// Deleter is a Store that can delete; see Claims.Delete.
type Deleter interface {
	// Delete removes the points of a series from from to to, both included.
	Delete(series string, from, to int64) error
}

// Settler is a Store that can be asked to finish what it does behind the
// caller's back, such as writing blocks.
type Settler interface {
	Settle() error
}

// Subject is a store under test.
type Subject struct {
	Name string
	Open func(dir string) (Store, error)
	// Log returns the newest file of the write-ahead log in dir that has data.
	Log    func(dir string) (string, error)
	Claims Claims
}

// Claims are what a store promises beyond the contract. A case that asks for
// what is not claimed is skipped, which a verdict says.
type Claims struct {
	// Late is how much older than the newest a point may be and still be kept.
	// Without it a late point may be refused, but not accepted and lost.
	Late time.Duration
	// Block is the span of points after which the store goes over to the next
	// block, partition or part.
	Block time.Duration
	// Retention is how long Open keeps points; what is older than that by two
	// blocks is gone after Settle.
	Retention time.Duration
	// Delete: the store is a Deleter.
	Delete bool
}

// Verdict is the outcome of one case.
type Verdict struct {
	Case   string
	Pass   bool
	Skip   bool   // not claimed, so neither passed nor failed
	Detail string // what was measured
	Took   time.Duration
}

func (v Verdict) word() string {
	switch {
	case v.Skip:
		return "skip"
	case v.Pass:
		return "pass"
	}
	return "FAIL"
}

func (v Verdict) String() string { return fmt.Sprintf("%s: %s: %s", v.Case, v.word(), v.Detail) }

// Table writes verdicts one a line.
func Table(subject string, verdicts []Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", subject)
	for _, v := range verdicts {
		fmt.Fprintf(&b, "  %-4s  %-31s  %6.1fs  %s\n", v.word(), v.Case, v.Took.Seconds(), v.Detail)
	}
	return b.String()
}

// The cases, in the order of Run.
const (
	ReadBack    = "what is appended is read back"
	Special     = "odd values keep their bits"
	Bounds      = "time bounds are inclusive"
	Duplicates  = "duplicates do not double"
	Late        = "late points"
	Reopen      = "reopening"
	ManySeries  = "many series"
	FirstInsert = "first inserts and reads at once"
	ReadWrite   = "reads while writing"
	Rollover    = "rollover under load"
	ColdRead    = "cold read"
	Deletion    = "deletion"
	Retention   = "retention"
	KillTwice   = "kill -9 twice in a row"
	KillRandom  = "kill -9 at random moments"
	FlippedByte = "byte flipped in the newest log"
	CutFiles    = "each file cut short"
	FlippedFile = "a byte flipped in each file"
)

// cases maps names to what runs them, in the order of Run.
var cases = []struct {
	name string
	run  func(*testing.T, Subject, *rand.Rand) Verdict
}{
	{ReadBack, readBack},
	{Special, specialValues},
	{Bounds, inclusiveBounds},
	{Duplicates, duplicates},
	{Late, latePoints},
	{Reopen, reopening},
	{ManySeries, manySeries},
	{FirstInsert, firstInserts},
	{ReadWrite, readsWhileWriting},
	{Rollover, rollover},
	{ColdRead, coldRead},
	{Deletion, deletion},
	{Retention, retention},
	{KillTwice, killTwice},
	{KillRandom, killRandom},
	{FlippedByte, flippedByte},
	{CutFiles, cutFiles},
	{FlippedFile, flippedFiles},
}

// Run puts the subject through all cases, or those named, logs the table and
// returns a verdict on each. It fails t only when the suite itself cannot work.
func Run(t *testing.T, s Subject, r *rand.Rand, only ...string) []Verdict {
	t.Helper()
	var verdicts []Verdict
	for _, c := range cases {
		if len(only) > 0 && !slices.Contains(only, c.name) {
			continue
		}
		start := time.Now()
		v := c.run(t, s, r)
		v.Case, v.Took = c.name, time.Since(start)
		verdicts = append(verdicts, v)
	}
	t.Log(Table(s.Name, verdicts))
	return verdicts
}
