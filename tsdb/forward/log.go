package forward

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// errBehind means that the log no longer holds what comes next, or is not the
// log that the position was taken in; errDamaged that a segment cannot be read
// any further.
var (
	errBehind  = errors.New("the log does not go on from here")
	errDamaged = errors.New("the log is damaged")
)

// liveMetrics are what the library's reader insists on.
var liveMetrics = wlog.NewLiveReaderMetrics(nil)

// logReader reads the records of a log that is being written, segment after
// segment. Each segment is read from its start, since the library's reader
// knows only whole pages.
type logReader struct {
	dir     string
	log     *slog.Logger
	segment int
	file    *os.File
	live    *wlog.LiveReader
	offset  int64  // of the end of the last record that was read
	print   uint32 // of the records read of this segment
	whole   bool   // the segment is complete: the next one has been made
}

func openLog(dir string, segment int, log *slog.Logger) (*logReader, error) {
	l := &logReader{dir: dir, log: log}
	return l, l.open(segment)
}

func (l *logReader) open(segment int) error {
	file, err := os.Open(wlog.SegmentName(l.dir, segment))
	if errors.Is(err, fs.ErrNotExist) {
		return errBehind
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.Close()
	l.file, l.segment, l.whole, l.offset, l.print = file, segment, false, 0, 0
	l.live = wlog.NewLiveReader(l.log, liveMetrics, file)
	return nil
}

// Close may be called twice.
func (l *logReader) Close() {
	if l.file != nil {
		_ = l.file.Close() // only read from
		l.file = nil
	}
}

// next returns the next record, good until the next call; io.EOF when there is
// none yet.
func (l *logReader) next() ([]byte, error) {
	for {
		if l.live.Next() {
			rec := l.live.Record()
			l.offset = l.live.Offset()
			l.print = crc32.Update(l.print, castagnoli, rec)
			return rec, nil
		}
		if err := l.live.Err(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: segment %d behind offset %d: %w", errDamaged, l.segment, l.offset, err)
		}
		// The segment is read once more to its end after the next one was
		// seen: what stands in between was written before that.
		if l.whole {
			if err := l.open(l.segment + 1); err != nil {
				return nil, err
			}
			continue
		}
		more, err := l.followed()
		if err != nil {
			return nil, err
		}
		if !more {
			return nil, io.EOF
		}
		l.whole = true
	}
}

// followed tells whether there is a segment after this one.
func (l *logReader) followed() (bool, error) {
	_, err := os.Stat(wlog.SegmentName(l.dir, l.segment+1))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for log: %w", err)
	}
	// The newest segment is never removed.
	if _, err := os.Stat(wlog.SegmentName(l.dir, l.segment)); errors.Is(err, fs.ErrNotExist) {
		return false, errBehind
	}
	return false, nil
}

// skip reads up to a position in this segment; errBehind when it is not there.
func (l *logReader) skip(p position, series func([]byte) error) error {
	if p.Offset == 0 && p.First != 0 {
		if first, err := firstRecord(l.dir, p.Segment, l.log); err != nil || first != p.First {
			return errors.Join(errBehind, err)
		}
	}
	for l.offset < p.Offset {
		rec, err := l.next()
		if errors.Is(err, io.EOF) || err == nil && l.segment != p.Segment {
			return errBehind
		}
		if err != nil {
			return err
		}
		if err := series(rec); err != nil {
			return err
		}
	}
	if l.offset != p.Offset || l.print != p.Print {
		return errBehind
	}
	return nil
}

// eachRecord reads what a segment holds at present. Damage ends it without an
// error: the store's repair is not this package's matter.
func eachRecord(path string, log *slog.Logger, do func([]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	live := wlog.NewLiveReader(log, liveMetrics, file)
	for live.Next() {
		if err := do(live.Record()); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	return nil
}

// firstRecord is the CRC-32C of the first record of a segment, 0 for none.
func firstRecord(dir string, segment int, log *slog.Logger) (sum uint32, err error) {
	errFound := errors.New("found")
	err = eachRecord(wlog.SegmentName(dir, segment), log, func(rec []byte) error {
		sum = crc32.Checksum(rec, castagnoli)
		return errFound
	})
	if errors.Is(err, errFound) {
		return sum, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at the log: %w", err)
	}
	return 0, nil
}

// times are the oldest and the newest sample of some records.
type times struct{ oldest, newest int64 }

func noTimes() times { return times{math.MaxInt64, math.MinInt64} }

func (t *times) add(at int64) { t.oldest, t.newest = min(t.oldest, at), max(t.newest, at) }

func (t *times) any() bool { return t.oldest <= t.newest }

// timesFrom returns the times of the samples in the first segment, from number
// n on, that holds any.
func timesFrom(dir string, n int, log *slog.Logger) (times, error) {
	_, last, err := wlog.Segments(dir)
	if err != nil {
		return noTimes(), fmt.Errorf("list log: %w", err)
	}
	dec := record.NewDecoder(labels.NewSymbolTable(), log)
	var buf []record.RefSample
	t := noTimes()
	for ; n <= last && !t.any(); n++ {
		err := eachRecord(wlog.SegmentName(dir, n), log, func(rec []byte) error {
			if !isSamples(dec.Type(rec)) {
				return nil
			}
			var err error
			if buf, err = dec.Samples(rec, buf[:0]); err != nil {
				return err
			}
			for _, s := range buf {
				t.add(s.T)
			}
			return nil
		})
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

func isSamples(t record.Type) bool { return t == record.Samples || t == record.SamplesV2 }

func isHistograms(t record.Type) bool {
	switch t {
	case record.HistogramSamples, record.FloatHistogramSamples, record.HistogramSamplesV2, record.FloatHistogramSamplesV2,
		record.CustomBucketsHistogramSamples, record.CustomBucketsFloatHistogramSamples:
		return true
	}
	return false
}
