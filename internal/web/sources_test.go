package web

import (
	"testing"

	"nocturne/tsdb"
)

func TestAppendedWord(t *testing.T) {
	f := func(a tsdb.AppendResult, want string) {
		t.Helper()
		if got := appendedWord(tsdb.SourceStats{Series: 3, Appended: a}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(tsdb.AppendResult{Appended: 5}, "3 series, 5 samples")
	f(tsdb.AppendResult{Appended: 5, TooOld: 2, SeriesLimit: 1}, "3 series, 5 samples; 2 rejected: too old; 1 rejected: over the limit of series")
}
