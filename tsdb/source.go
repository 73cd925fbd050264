package tsdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
)

const (
	// ownSource is who DB.Append appends for.
	ownSource = "program"
	// otherSource stands for all sources beyond maxSources, so that names
	// from outside cannot fill the memory.
	otherSource = "other"
	maxSources  = 1024
	maxName     = 128 // bytes of a source's name
)

// Source appends samples on behalf of one sender or one kind of target, and
// answers for them: series count to the source that created them, and what is
// rejected is counted by source. It is safe for concurrent use.
type Source struct {
	db     *DB
	name   string
	number uint16 // in owners, from 1
	series atomic.Int64

	appended atomic.Int64
	rejected [reasons]atomic.Int64
}

// SourceStats say how a source fares.
type SourceStats struct {
	Name     string
	Series   int          // in the head
	Appended AppendResult // totals since Open
}

// Source returns the source of that name, the same for each call. Names should
// be few: beyond 1024 of them all are one, named other.
func (db *DB) Source(name string) *Source {
	if len(name) > maxName {
		name = name[:maxName]
	}
	name = strings.ToValidUTF8(name, "\uFFFD")
	db.sourceMu.Lock()
	defer db.sourceMu.Unlock()
	if s := db.sources[name]; s != nil {
		return s
	}
	if len(db.sources) >= maxSources {
		name = otherSource
		if s := db.sources[name]; s != nil {
			return s
		}
	}
	s := &Source{db: db, name: name}
	db.owners.mu.Lock()
	db.owners.sources = append(db.owners.sources, s)
	s.number = uint16(len(db.owners.sources))
	db.owners.mu.Unlock()
	db.sources[name] = s
	return s
}

// Name is what the source was asked for by.
func (s *Source) Name() string { return s.name }

// Append stores samples. One that cannot be stored is counted and left out. An
// error means that not all that could be was stored, and that the samples may
// be sent again: what is there already is not stored twice. It is final once a
// sync of the log has failed.
func (s *Source) Append(ctx context.Context, samples []Sample) (AppendResult, error) {
	b, err := s.Begin(ctx)
	if err != nil {
		return AppendResult{}, fmt.Errorf("append %d samples: %w", len(samples), err)
	}
	for _, x := range samples {
		b.Append(x.Labels, x.T, x.V)
	}
	return b.Commit()
}

// Stats returns the present figures.
func (s *Source) Stats() SourceStats {
	var n [reasons]int
	for i := range n {
		n[i] = int(s.rejected[i].Load())
	}
	return SourceStats{Name: s.name, Series: int(s.series.Load()), Appended: result(int(s.appended.Load()), n)}
}

// count notes series that came or went.
func (s *Source) count(n int64) {
	metrics.GetOrCreateGauge(fmt.Sprintf(`nocturne_tsdb_source_series{source=%q}`, s.name), nil).Set(float64(s.series.Add(n)))
}

func (s *Source) note(appended int, rejected [reasons]int) {
	s.appended.Add(int64(appended))
	appendedTotal.Add(appended)
	for r, n := range rejected {
		if n > 0 {
			s.rejected[r].Add(int64(n))
			metrics.GetOrCreateCounter(fmt.Sprintf(`nocturne_tsdb_samples_rejected_total{reason=%q,source=%q}`, Reason(r), s.name)).Add(n)
		}
	}
}

// sourceStats returns the figures of all sources by name, and their sums.
func (db *DB) sourceStats() ([]SourceStats, AppendResult) {
	db.sourceMu.Lock()
	names := slices.Sorted(maps.Keys(db.sources))
	all := make([]SourceStats, len(names))
	for i, n := range names {
		all[i] = db.sources[n].Stats()
	}
	db.sourceMu.Unlock()
	var sum AppendResult
	for _, s := range all {
		sum = sum.plus(s.Appended)
	}
	return all, sum
}
