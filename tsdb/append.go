package tsdb

import (
	"context"
	"errors"
	"fmt"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// Sample is one value of one series. Labels carry the metric's name.
type Sample struct {
	Labels labels.Labels
	T      int64 // Unix time in milliseconds
	V      float64
}

// AppendResult counts what became of the samples of one Append.
type AppendResult struct {
	Appended   int
	Duplicate  int // the series has another value at that time
	OutOfOrder int // older than the store still takes
	Invalid    int // no metric name, or a name or value that is not UTF-8
}

var (
	appendedTotal   = metrics.GetOrCreateCounter(`nocturne_tsdb_samples_appended_total`)
	duplicateTotal  = metrics.GetOrCreateCounter(`nocturne_tsdb_samples_rejected_total{reason="duplicate"}`)
	outOfOrderTotal = metrics.GetOrCreateCounter(`nocturne_tsdb_samples_rejected_total{reason="out_of_order"}`)
	invalidTotal    = metrics.GetOrCreateCounter(`nocturne_tsdb_samples_rejected_total{reason="invalid"}`)
	appendFailures  = metrics.GetOrCreateCounter(`nocturne_tsdb_append_failures_total`)
)

// Append stores samples. A sample that cannot be stored is counted and left
// out. An error means that none was stored; it is final once a sync of the
// log has failed.
func (db *DB) Append(ctx context.Context, samples []Sample) (AppendResult, error) {
	if err := db.readOnly(); err != nil {
		return AppendResult{}, err
	}
	if err := ctx.Err(); err != nil {
		return AppendResult{}, err
	}
	r, err := db.append(ctx, samples)
	if err != nil {
		appendFailures.Inc()
		return AppendResult{}, fmt.Errorf("append %d samples: %w", len(samples), err)
	}
	db.logs.wrote()
	db.results.add(r)
	appendedTotal.Add(r.Appended)
	duplicateTotal.Add(r.Duplicate)
	outOfOrderTotal.Add(r.OutOfOrder)
	invalidTotal.Add(r.Invalid)
	return r, nil
}

func (db *DB) append(ctx context.Context, samples []Sample) (AppendResult, error) {
	var r AppendResult
	app := db.inner.Appender(ctx)
	for _, s := range samples {
		if !valid(s.Labels) {
			r.Invalid++
			continue
		}
		_, err := app.Append(0, s.Labels, s.T, s.V)
		switch {
		case err == nil:
			r.Appended++
		case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
			r.Duplicate++
		case errors.Is(err, storage.ErrOutOfOrderSample), errors.Is(err, storage.ErrTooOldSample), errors.Is(err, storage.ErrOutOfBounds):
			r.OutOfOrder++
		case errors.Is(err, tsdb.ErrInvalidSample):
			r.Invalid++
		default:
			return AppendResult{}, errors.Join(err, app.Rollback())
		}
	}
	return r, app.Commit()
}

func valid(ls labels.Labels) bool {
	return ls.Get(model.MetricNameLabel) != "" && ls.IsValid(model.UTF8Validation)
}
