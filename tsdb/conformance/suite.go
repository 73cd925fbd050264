// Package conformance is a suite that a store of history must pass before
// nocturne keeps samples in it: what was acknowledged survives the process, a
// damaged log neither blocks opening nor gives wrong values, first inserts
// and reads at once lose nothing, and what is on disk can be read back.
//
// A subject is a Store with a way to open it. The kills are real: the suite
// runs the test binary again as a child, so a test package that uses it calls
// Child first thing in TestMain:
//
//	var subject = conformance.Subject{Name: "mine", Open: open, Log: newestLog}
//
//	func TestMain(m *testing.M) {
//		conformance.Child(subject)
//		os.Exit(m.Run())
//	}
//
//	func TestConformance(t *testing.T) {
//		for _, v := range conformance.Run(t, subject, rnd) {
//			if !v.Pass {
//				t.Error(v)
//			}
//		}
//	}
package conformance

import (
	"fmt"
	"math/rand/v2"
	"testing"
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

// Subject is a store under test.
type Subject struct {
	Name string
	Open func(dir string) (Store, error)
	// Log returns the newest file of the write-ahead log in dir that has data.
	Log func(dir string) (string, error)
}

// Verdict is the outcome of one case.
type Verdict struct {
	Case   string
	Pass   bool
	Detail string // what was measured
}

func (v Verdict) String() string {
	word := "fail"
	if v.Pass {
		word = "pass"
	}
	return fmt.Sprintf("%s: %s: %s", v.Case, word, v.Detail)
}

// The cases, in the order of Run.
const (
	KillTwice   = "kill -9 twice in a row"
	FlippedByte = "byte flipped in the newest log"
	FirstInsert = "first inserts and reads at once"
	ColdRead    = "cold read"
)

// Run puts the subject through all cases and returns a verdict on each. It
// fails t only when the suite itself cannot work.
func Run(t *testing.T, s Subject, r *rand.Rand) []Verdict {
	t.Helper()
	verdicts := []Verdict{
		killTwice(t, s, r),
		flippedByte(t, s, r),
		firstInserts(t, s),
		coldRead(t, s),
	}
	for _, v := range verdicts {
		t.Logf("%s: %s", s.Name, v)
	}
	return verdicts
}
