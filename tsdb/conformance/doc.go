// Package conformance is a suite that a store of history must pass before
// nocturne keeps samples in it, or anybody else does: what was acknowledged
// survives the process, what is read is what was written, damage is never
// answered as data.
//
// # Judging a store
//
// A subject is a Store, four methods, with a way to open it: some thirty lines
// for most engines. Kills are real: the suite runs the test binary again as a
// child and sends it SIGKILL, so a test package that uses it calls Child first
// thing in TestMain:
//
//	var subject = conformance.Subject{
//		Name:   "mine",
//		Open:   func(dir string) (conformance.Store, error) { return open(dir) },
//		Log:    newestLogFile,
//		Claims: conformance.Claims{Late: 30 * time.Minute, Block: 2 * time.Hour},
//	}
//
//	func TestMain(m *testing.M) {
//		conformance.Child(subject)
//		os.Exit(m.Run())
//	}
//
//	func TestConformance(t *testing.T) {
//		for _, v := range conformance.Run(t, subject, rand.New(rand.NewPCG(1, 2))) {
//			if !v.Pass && !v.Skip {
//				t.Error(v)
//			}
//		}
//	}
//
// Run logs a table with a line for each case: pass, FAIL, or skip where the
// subject does not claim what the case asks for, and what was measured.
//
// # What is asked
//
//   - A point is acknowledged when Append and then Sync have returned. From
//     then on neither kill -9 nor closing and opening may lose it.
//   - Select returns points in the order of time, one a time, with the bits
//     that were appended (NaN and its payload, infinities, -0), from and to
//     included. Its result belongs to the caller.
//   - A second point of a series at the same time is refused or replaces the
//     first; it is never a second one. A late point is refused with an error or
//     kept; where Claims.Late says so it must be kept.
//   - Append and Select are called from many goroutines at once. A read
//     during writes sees some first part of what each writer wrote.
//   - A file that is cut short or has a byte flipped may cost points. It may
//     not yield a value that was never written, nor end the process; a store
//     that does not open names the file in its error.
//
// Not asked, since a process cannot do it to itself: power cuts. See
// nocturne's own test of what is on disk after a sync, durability_test.go.
package conformance
