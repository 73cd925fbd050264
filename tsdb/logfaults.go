package tsdb

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// errLogWrite: the log is short of what the library holds in memory.
var errLogWrite = errors.New("a write of the log has failed")

// logFaults counts the writes of the logs that failed. The library returns the
// error of one log, only prints that of the other, and writes on behind a
// record that is cut short, where a later replay ends; its counters are the
// one place where both are seen. So they are read after each commit. As a
// prometheus.Registerer it takes these counters and the gauge of chunks.
type logFaults struct {
	mu       sync.Mutex
	counters []prometheus.Metric
	chunks   prometheus.Metric // the library's gauge of chunks in the head
	err      error             // of the first failed write
}

// Register implements prometheus.Registerer.
func (f *logFaults) Register(c prometheus.Collector) error {
	described := make(chan *prometheus.Desc, 16)
	go func() {
		c.Describe(described)
		close(described)
	}()
	for d := range described {
		switch {
		case strings.Contains(d.String(), "writes_failed_total"):
			f.mu.Lock()
			f.counters = append(f.counters, only(c))
			f.mu.Unlock()
		case strings.Contains(d.String(), `"prometheus_tsdb_head_chunks"`):
			f.mu.Lock()
			f.chunks = only(c)
			f.mu.Unlock()
		}
	}
	return nil
}

// only is the one metric of a collector, which goes on telling its value.
func only(c prometheus.Collector) prometheus.Metric {
	got := make(chan prometheus.Metric, 1)
	c.Collect(got)
	return <-got
}

// MustRegister implements prometheus.Registerer.
func (f *logFaults) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = f.Register(c) // never fails
	}
}

// Unregister implements prometheus.Registerer.
func (*logFaults) Unregister(prometheus.Collector) bool { return true }

// count is how many writes have failed.
func (f *logFaults) count() (n float64) {
	for _, c := range f.counters {
		var m dto.Metric
		if err := c.Write(&m); err == nil {
			n += m.GetCounter().GetValue()
		}
	}
	return n
}

// headChunks is how many chunks the head holds.
func (f *logFaults) headChunks() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.chunks == nil {
		return 0
	}
	var m dto.Metric
	if err := f.chunks.Write(&m); err != nil {
		return 0
	}
	return int64(m.GetGauge().GetValue())
}

// judge turns the end of a commit into an error unless every write so far has
// succeeded: a record behind one that is cut short is lost at the next replay.
func (f *logFaults) judge(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && f.count() > 0 {
		f.err = errLogWrite
		if err != nil {
			f.err = fmt.Errorf("%w: %w", errLogWrite, err)
		}
	}
	if f.err != nil {
		return errors.Join(ErrReadOnly, f.err)
	}
	return err
}

// failed returns why nothing that the log holds from now on counts.
func (f *logFaults) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// drop forgets the counters of a store that is closed.
func (f *logFaults) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counters = nil
}

// forget lets commits succeed again.
func (f *logFaults) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = nil
}

// diskFull tells an error that passes when there is room from one that does
// not.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
