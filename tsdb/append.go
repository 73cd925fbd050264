package tsdb

import (
	"context"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/model/labels"
)

// Sample is one value of one series. Labels carry the metric's name.
type Sample struct {
	Labels labels.Labels
	T      int64 // Unix time in milliseconds
	V      float64
}

// AppendResult counts what became of the samples of one Append. A sample that
// comes for the second time, with the same value, counts as appended.
type AppendResult struct {
	Appended    int
	Duplicate   int // see the Reasons of these names
	OutOfOrder  int
	TooOld      int
	Future      int
	Invalid     int
	LabelLimit  int
	SourceLimit int
	SeriesLimit int
}

// Rejected is the number of all that was not appended.
func (r AppendResult) Rejected() int {
	return r.Duplicate + r.OutOfOrder + r.TooOld + r.Future + r.Invalid + r.LabelLimit + r.SourceLimit + r.SeriesLimit
}

var (
	appendedTotal  = metrics.GetOrCreateCounter(`nocturne_tsdb_samples_appended_total`)
	appendFailures = metrics.GetOrCreateCounter(`nocturne_tsdb_append_failures_total`)
)

func result(appended int, n [reasons]int) AppendResult {
	return AppendResult{
		Appended: appended, Duplicate: n[Duplicate], OutOfOrder: n[OutOfOrder], TooOld: n[TooOld], Future: n[Future],
		Invalid: n[Invalid], LabelLimit: n[LabelLimit], SourceLimit: n[SourceLimit], SeriesLimit: n[SeriesLimit],
	}
}

func (r AppendResult) plus(x AppendResult) AppendResult {
	return AppendResult{
		Appended: r.Appended + x.Appended, Duplicate: r.Duplicate + x.Duplicate, OutOfOrder: r.OutOfOrder + x.OutOfOrder,
		TooOld: r.TooOld + x.TooOld, Future: r.Future + x.Future, Invalid: r.Invalid + x.Invalid,
		LabelLimit: r.LabelLimit + x.LabelLimit, SourceLimit: r.SourceLimit + x.SourceLimit, SeriesLimit: r.SeriesLimit + x.SeriesLimit,
	}
}

// Append is Source.Append for the program's own samples.
func (db *DB) Append(ctx context.Context, samples []Sample) (AppendResult, error) {
	return db.own.Append(ctx, samples)
}
