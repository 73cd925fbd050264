package tsdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// maxRejections is how many rejected samples a batch describes; all count.
const maxRejections = 10

// Batch gathers samples of one source until Commit. It is for one goroutine.
//
// Samples of known series go to the library at once. Those of series that are
// not in the head, or whose record may not be in the log yet, wait for Commit,
// where series are created by one batch at a time.
type Batch struct {
	src    *Source
	app    storage.Appender
	epoch  uint64 // of the references given out, shifted
	times  times
	late   []waiting
	closed bool

	appended   int
	histograms int // of appended
	rejected   [reasons]int
	first      []error
	err        error // of the store; the batch is lost
}

// waiting is a sample whose series may have to be created.
type waiting struct {
	ls labels.Labels
	t  int64
	v  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

// Begin starts a batch, which ends by Commit or Rollback.
func (s *Source) Begin(ctx context.Context) (*Batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.db.readOnly(); err != nil {
		return nil, err
	}
	app := s.db.inner.Appender(ctx)
	return &Batch{src: s, app: app, epoch: s.db.inner.era() << epochShift, times: s.db.options.times(time.Now())}, nil
}

// Append adds a sample and returns a reference by which AppendRef adds more of
// the same series, also in later batches; 0 when there is none yet.
func (b *Batch) Append(ls labels.Labels, t int64, v float64) uint64 {
	return b.add(waiting{ls: ls, t: t, v: v})
}

// AppendHistogram is Append with a native histogram, either of integers or of
// floats, which becomes the store's.
func (b *Batch) AppendHistogram(ls labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) uint64 {
	if err := reduce(h, fh); err != nil {
		b.reject(Invalid, err.Error(), ls, t)
		return 0
	}
	return b.add(waiting{ls: ls, t: t, h: h, fh: fh})
}

// epochShift leaves 48 bits for the library's references. What stands above
// tells references of before a reopening, which may be another series' now.
const epochShift = 48

// AppendRef adds a sample to a series by its reference. It answers false, and
// has added nothing, when the head has dropped the series.
func (b *Batch) AppendRef(ref uint64, t int64, v float64) bool {
	if ref ^= b.epoch; ref>>epochShift != 0 {
		return false
	}
	if t > b.times.newest {
		b.reject(Future, tooFarAhead, b.labelsOf(ref), t)
		return true
	}
	// Without labels the library cannot create what it does not find.
	_, err := b.app.Append(storage.SeriesRef(ref), labels.EmptyLabels(), t, v)
	switch {
	case err == nil:
		b.appended++
		return true
	case errors.Is(err, tsdb.ErrInvalidSample), errors.Is(err, errNotPermitted):
		return false
	}
	b.failed(err, func() labels.Labels { return b.labelsOf(ref) }, t)
	return true
}

const tooFarAhead = "timestamp is too far in the future"

func (b *Batch) add(w waiting) uint64 {
	if w.t > b.times.newest {
		b.reject(Future, tooFarAhead, w.ls, w.t)
		return 0
	}
	o := b.src.db.owners
	ref := find(b.app, w.ls)
	if ref == 0 {
		// The library takes a label without a value for none.
		if full := w.ls.WithoutEmpty(); full.Len() < w.ls.Len() {
			if r, cause := b.src.db.Limits().checkLabels(w.ls); r != reasons {
				b.reject(r, cause, w.ls, w.t)
				return 0
			}
			w.ls = full
			ref = find(b.app, full)
		}
	}
	if ref == 0 || o.pending(ref) {
		b.later(w)
		return 0
	}
	err := w.append(b.app, ref)
	switch {
	case err == nil:
		o.claim(ref, b.src, false)
		b.counted(w)
	case errors.Is(err, errNotPermitted):
		b.later(w)
		return 0
	default:
		b.failed(err, func() labels.Labels { return w.ls }, w.t)
	}
	return uint64(ref) | b.epoch
}

// later keeps a sample for Commit, unless it can be rejected now.
func (b *Batch) later(w waiting) {
	if r, cause := b.src.refuses(w.ls, w.t, b.times); r != reasons {
		b.reject(r, cause, w.ls, w.t)
		return
	}
	b.late = append(b.late, w)
}

func find(app storage.Appender, ls labels.Labels) storage.SeriesRef {
	g, ok := app.(storage.GetRef)
	if !ok {
		return 0
	}
	ref, _ := g.GetRef(ls, ls.Hash())
	return ref
}

func (w waiting) append(app storage.Appender, ref storage.SeriesRef) error {
	var err error
	if w.h != nil || w.fh != nil {
		_, err = app.AppendHistogram(ref, w.ls, w.t, w.h, w.fh)
	} else {
		_, err = app.Append(ref, w.ls, w.t, w.v)
	}
	return err
}

// refuses says why a new series with a sample at t would not be created.
func (s *Source) refuses(ls labels.Labels, t int64, bounds times) (Reason, string) {
	l := s.db.Limits()
	if r, cause := l.checkLabels(ls); r != reasons {
		return r, cause
	}
	head := s.db.inner.Head()
	late := t < bounds.oldest
	if from, any := head.AppendableMinValidTime(); any {
		late = t < min(from, head.MaxTime()-s.db.lateWindow.Load())
	}
	switch {
	case late:
		return TooOld, storage.ErrTooOldSample.Error()
	case s.series.Load() >= int64(l.SeriesPerSource):
		return SourceLimit, fmt.Sprintf("source %s has %d series, as many as it may", s.name, l.SeriesPerSource)
	case head.NumSeries() >= uint64(l.Series):
		return SeriesLimit, fmt.Sprintf("there are %d series, as many as there may be", l.Series)
	}
	return reasons, ""
}

// counted notes a sample that the library took.
func (b *Batch) counted(w waiting) {
	b.appended++
	if w.h != nil || w.fh != nil {
		b.histograms++
	}
}

// failed sorts the library's errors: those that are about the sample, and
// those that are about the store.
func (b *Batch) failed(err error, ls func() labels.Labels, t int64) {
	_, broken := errors.AsType[histogram.Error](err)
	r := reasons
	switch {
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		r = Duplicate
	case errors.Is(err, storage.ErrOutOfOrderSample):
		r = OutOfOrder
	case errors.Is(err, storage.ErrTooOldSample), errors.Is(err, storage.ErrOutOfBounds):
		r = TooOld
	case errors.Is(err, tsdb.ErrInvalidSample), broken:
		r = Invalid
	default:
		b.err = errors.Join(b.err, err)
		return
	}
	if len(b.first) >= maxRejections { // spare the labels
		b.rejected[r]++
		return
	}
	b.reject(r, err.Error(), ls(), t)
}

func (b *Batch) reject(r Reason, cause string, ls labels.Labels, t int64) {
	b.rejected[r]++
	if len(b.first) < maxRejections {
		b.first = append(b.first, &Rejection{Reason: r, Series: show(ls), T: t, Cause: cause})
	}
}

// Refuse counts samples as invalid that a caller could not make out.
func (b *Batch) Refuse(cause string, samples int) {
	b.rejected[Invalid] += samples
	if samples > 0 && len(b.first) < maxRejections {
		b.first = append(b.first, errors.New(cause))
	}
}

// labelsOf reads the labels of a series in the head, for a message.
func (b *Batch) labelsOf(ref uint64) labels.Labels {
	ix, err := b.src.db.inner.Head().Index()
	if err != nil {
		return labels.EmptyLabels()
	}
	defer ix.Close()
	var sb labels.ScratchBuilder
	var none []chunks.Meta
	if err := ix.Series(storage.SeriesRef(ref), &sb, &none); err != nil {
		return labels.EmptyLabels()
	}
	return sb.Labels()
}

// Rejections describes the first rejected samples, mostly as *Rejection.
func (b *Batch) Rejections() []error { return b.first }

// Histograms is how many of the samples appended were native histograms.
func (b *Batch) Histograms() int { return b.histograms }

// Rollback drops the batch, and does nothing after Commit.
func (b *Batch) Rollback() error {
	if b.closed {
		return nil
	}
	b.closed = true
	return b.app.Rollback()
}

// Commit stores the batch. When it returns without error what it counts as
// appended survives a kill of the process; see DB.Synced for a power cut. For
// the error see Source.Append.
func (b *Batch) Commit() (AppendResult, error) {
	n := b.appended + len(b.late)
	err := b.err
	if err != nil {
		err = errors.Join(err, b.Rollback())
	} else {
		b.closed = true
		if err = b.app.Commit(); err == nil {
			err = b.create()
		}
		b.src.db.logs.wrote()
		if failed := b.src.db.logs.broken(); failed != nil { // since Begin
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		appendFailures.Inc()
		return AppendResult{}, fmt.Errorf("append %d samples: %w", n, err)
	}
	b.src.note(b.appended, b.rejected)
	return result(b.appended, b.rejected), nil
}

// create appends what waited, and creates the series that are still missing.
func (b *Batch) create() error {
	if len(b.late) == 0 {
		return nil
	}
	o := b.src.db.owners
	o.creating.Lock()
	defer o.creating.Unlock()
	o.busy.Store(true)
	defer o.busy.Store(false)
	app := b.src.db.inner.Appender(context.Background())
	var made []storage.SeriesRef
	for _, w := range b.late {
		ref := find(app, w.ls)
		if ref == 0 {
			if ref = b.createOne(app, w); ref != 0 {
				made = append(made, ref)
			}
			continue
		}
		if o.isLost(ref) {
			b.err = fmt.Errorf("series %s: its creation could not be written to the log", show(w.ls))
			break
		}
		if err := w.append(app, ref); err != nil {
			b.failed(err, func() labels.Labels { return w.ls }, w.t)
			continue
		}
		o.claim(ref, b.src, false)
		b.counted(w)
	}
	if b.err != nil {
		// Rollback writes the records of the series that were created.
		if err := app.Rollback(); err != nil {
			o.lost(made)
			return errors.Join(b.err, err)
		}
		return b.err
	}
	if err := app.Commit(); err != nil {
		o.lost(made)
		return err
	}
	for _, ref := range made {
		if uint64(ref) > o.logged.Load() {
			o.logged.Store(uint64(ref))
		}
	}
	return nil
}

// createOne appends the first sample of a series and returns the reference of
// the series if it was created, even where the sample was not taken.
func (b *Batch) createOne(app storage.Appender, w waiting) storage.SeriesRef {
	if r, cause := b.src.refuses(w.ls, w.t, b.times); r != reasons {
		b.reject(r, cause, w.ls, w.t)
		return 0
	}
	o := b.src.db.owners
	o.allow(w.ls)
	err := w.append(app, 0)
	o.allow(labels.EmptyLabels())
	ref := find(app, w.ls)
	if ref != 0 {
		o.claim(ref, b.src, true)
	}
	if err != nil {
		b.failed(err, func() labels.Labels { return w.ls }, w.t)
	} else {
		b.counted(w)
	}
	return ref
}

// reduce brings a histogram of a finer resolution than the store takes down to
// its finest, as Prometheus does for what remote writers send.
func reduce(h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	if h != nil && histogram.IsExponentialSchemaReserved(h.Schema) && h.Schema > histogram.ExponentialSchemaMax {
		return h.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	if fh != nil && histogram.IsExponentialSchemaReserved(fh.Schema) && fh.Schema > histogram.ExponentialSchemaMax {
		return fh.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	return nil
}
