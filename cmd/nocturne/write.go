package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"

	"nocturne/tsdb"
	"nocturne/tsdb/remotewrite"
)

// writeBatch is a batch of the history as remote write sees it.
type writeBatch struct{ *tsdb.Batch }

func (b writeBatch) Commit() (remotewrite.Outcome, error) {
	r, err := b.Batch.Commit()
	return remotewrite.Outcome{
		Samples: r.Appended - b.Histograms(), Histograms: b.Histograms(), Rejected: r.Rejected(), Faults: b.Rejections(),
	}, err
}

// remoteWrite is the way into the history for those who hold a token: each is
// a source of its own there.
func (h *house) remoteWrite() (func(http.ResponseWriter, *http.Request, string), error) {
	in, err := remotewrite.New(remotewrite.Options{
		Begin: func(ctx context.Context, sender string) (remotewrite.Batch, error) {
			b, err := h.history.Source("token:" + sender).Begin(ctx)
			if err != nil {
				return nil, err
			}
			return writeBatch{b}, nil
		},
		Metadata: func(metric string, kind model.MetricType, help, unit string) {
			h.metadata.Set(metric, metadata.Metadata{Type: kind, Help: help, Unit: unit})
		},
		ReadOnly: tsdb.ErrReadOnly,
		Log:      h.log,
	})
	if err != nil {
		return nil, fmt.Errorf("wire remote write: %w", err)
	}
	return in.Serve, nil
}
