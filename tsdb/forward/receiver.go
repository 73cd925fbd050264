package forward

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	// pollInterval is between two looks at the end of the log.
	pollInterval = 150 * time.Millisecond
	// roundWait is how long a round gathers samples while it is not full.
	roundWait = time.Second
	// saveInterval is the least time between two writes of the position.
	saveInterval = 300 * time.Millisecond
	// readable is how long after its record a sample can surely be read: the
	// store logs it first.
	readable = 2 * time.Second
	// slack is added to what the store takes late: it judges a sample against
	// the newest one at the time its append began.
	slack = 10 * time.Minute
)

// errStopped ends a receiver that does not answer when it is to stop.
var errStopped = errors.New("stopped")

// receiver sends to one Receiver. Its position belongs to run's goroutine.
type receiver struct {
	to        Receiver
	log       *slog.Logger
	source    Source
	catalogue *catalogue
	client    *client
	labelling labelling
	file      *positionFile
	stop      <-chan struct{}

	pos   position
	saved time.Time // when pos was last written
	dirty bool      // pos has moved since

	protocol atomic.Pointer[string]
	hopeless atomic.Bool // the last halving saved nothing; see refuse
	figures  figures
}

func newReceiver(f *Forwarder, to Receiver) (*receiver, error) {
	client, err := newClient(to)
	if err != nil {
		return nil, err
	}
	r := &receiver{
		to: to, log: f.log.With("receiver", to.Name), source: f.source, catalogue: f.catalogue, client: client,
		labelling: labelling{labels.FromMap(to.ExternalLabels), to.Relabel},
		file:      newPositionFile(f.dir, to.Name), pos: beginning(),
	}
	r.protocol.Store(&to.Protocol)
	r.figures.init(to.Name)
	return r, nil
}

// run works until ctx ends, or soon after stop is closed.
func (r *receiver) run(ctx context.Context, stop <-chan struct{}) {
	r.stop = stop
	defer r.client.http.CloseIdleConnections()
	started := false
	for !r.over(ctx) {
		err := r.catchUpAndFollow(ctx, &started)
		if err == nil || errors.Is(err, errStopped) || ctx.Err() != nil {
			break
		}
		r.fault(err)
		r.pause(ctx, longestPause/10)
	}
	if started {
		r.keep(true)
	}
}

func (r *receiver) over(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-r.stop:
		return true
	default:
		return false
	}
}

// catchUpAndFollow returns nil only when the receiver is to stop.
func (r *receiver) catchUpAndFollow(ctx context.Context, started *bool) error {
	if !*started {
		if err := r.start(); err != nil {
			return err
		}
		*started = true
	}
	for {
		if err := r.catchUp(ctx); err != nil {
			return err
		}
		err := r.follow(ctx)
		switch {
		case errors.Is(err, errBehind):
			err = r.rejoin()
		case errors.Is(err, errDamaged):
			err = r.skipDamage(err)
		case err == nil && !r.pos.behind():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// start finds the position, or makes one.
func (r *receiver) start() error {
	p, faults, err := r.file.load()
	for _, f := range faults {
		r.log.Warn("a copy of the position is damaged", "err", f)
	}
	switch {
	case err == nil:
		if r.pos = p; p.Repairs != r.repairs() {
			r.log.Warn("part of the log was lost; what may have stood there is read from the blocks")
			r.pos.owe(p.Low, math.MaxInt64)
		}
	case errors.Is(err, errDamagedPosition):
		if err := r.startOver(); err != nil {
			return err
		}
		r.log.Error("where the receiver stood is not known any more; all samples held are sent again", "err", err)
	case errors.Is(err, errNoPosition):
		if err := r.startNew(); err != nil {
			return err
		}
	default:
		return err
	}
	if now := r.repairs(); r.pos.Repairs != now {
		r.pos.Repairs, r.dirty = now, true
		if err := r.save(true); err != nil {
			return err
		}
	}
	r.figures.moved(r.pos)
	return nil
}

func (r *receiver) repairs() uint32 {
	return crc32.Checksum([]byte(r.source.Repairs()), castagnoli)
}

// startNew begins with the newest segment, and what Backfill adds.
func (r *receiver) startNew() error {
	_, last, err := wlog.Segments(r.source.LogDir())
	if err != nil {
		return fmt.Errorf("list log: %w", err)
	}
	r.pos = beginning()
	r.pos.Segment = max(0, last)
	if r.pos.First, err = firstRecord(r.source.LogDir(), r.pos.Segment, r.log); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, newest, ok := r.source.Bounds(); ok {
		r.pos.Low = r.lowest(newest)
		if r.to.Backfill > 0 {
			r.pos.owe(time.Now().Add(-r.to.Backfill).UnixMilli(), newest)
		}
	}
	r.dirty = true
	return r.save(true)
}

// startOver begins with everything.
func (r *receiver) startOver() error {
	r.pos = beginning()
	first, err := r.firstSegment()
	if err != nil {
		return err
	}
	return r.moveTo(first, true)
}

func (r *receiver) firstSegment() (int, error) {
	first, _, err := wlog.Segments(r.source.LogDir())
	if err != nil {
		return 0, fmt.Errorf("list log: %w", err)
	}
	return max(0, first), nil
}

// lowest is the least time of a sample that is appended after newest.
func (r *receiver) lowest(newest int64) int64 { return newest - r.late() }

func (r *receiver) late() int64 { return (r.source.Lateness() + slack).Milliseconds() }

// rejoin moves the position to where the log begins and owes what may lie
// between. A log that begins later has been truncated, and holds all that was
// appended since. Any other is not the one that the position was taken in, and
// bounds nothing.
func (r *receiver) rejoin() error {
	first, err := r.firstSegment()
	if err != nil {
		return err
	}
	return r.moveTo(first, first > r.pos.Segment)
}

// skipDamage moves on to the next segment, once there is one.
func (r *receiver) skipDamage(damage error) error {
	_, last, err := wlog.Segments(r.source.LogDir())
	if err != nil {
		return fmt.Errorf("list log: %w", err)
	}
	if last <= r.pos.Segment {
		return damage
	}
	r.log.Error("a log segment cannot be read; its samples are read from the blocks", "err", damage)
	return r.moveTo(r.pos.Segment+1, true)
}

// moveTo owes what was appended between the position and the start of a
// segment: nothing older than Low; and, where the log is whole from there on,
// nothing that is newer than the segment's oldest sample by more than what the
// store would have taken late.
func (r *receiver) moveTo(segment int, whole bool) error {
	t, err := timesFrom(r.source.LogDir(), segment, r.log)
	if err != nil {
		return err
	}
	head, err := firstRecord(r.source.LogDir(), segment, r.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p := r.pos
	from := p.Low
	to := int64(math.MaxInt64)
	if t.any() {
		if whole {
			to = t.oldest + r.late()
		}
		p.Low = min(t.oldest, r.lowest(t.newest))
	}
	p.owe(from, to)
	p.Segment, p.Offset, p.Print, p.First = segment, 0, 0, head
	r.pos, r.dirty = p, true
	return r.save(true)
}

// follow sends what the log holds and will hold. It returns nil when the
// receiver is to stop, or owes something from the blocks.
func (r *receiver) follow(ctx context.Context) error {
	l, err := openLog(r.source.LogDir(), r.pos.Segment, r.log)
	if err != nil {
		return err
	}
	defer l.Close()
	d := record.NewDecoder(labels.NewSymbolTable(), r.log)
	rd := &logRounds{log: l, dec: &d, round: newRound(), catalogue: r.catalogue}
	if err := l.skip(r.pos, rd.series); err != nil {
		return err
	}
	for {
		readErr := r.gather(ctx, rd)
		if err := r.deliver(ctx, rd.round.runs, rd.round.samples); err != nil {
			return err
		}
		r.advance(rd)
		if rd.round.unknown.any() {
			if r.pause(ctx, readable); r.over(ctx) {
				return errStopped
			}
		}
		if readErr != nil || r.pos.behind() {
			return readErr
		}
		if rd.round.samples == 0 && r.over(ctx) {
			return nil
		}
	}
}

// advance moves the position over a round that was answered for.
func (r *receiver) advance(rd *logRounds) {
	p, round := &r.pos, rd.round
	if p.Segment == rd.log.segment && p.Offset == rd.log.offset {
		return
	}
	p.Segment, p.Offset, p.Print, p.First = rd.log.segment, rd.log.offset, rd.log.print, 0
	if round.seen.any() {
		p.Newest = max(p.Newest, round.seen.newest)
		p.Low = max(p.Low, r.lowest(round.seen.newest))
	}
	if round.unknown.any() {
		r.log.Warn("samples of series that the log no longer names are read from the blocks")
		p.owe(round.unknown.oldest, round.unknown.newest)
	}
	r.figures.strange.Add(int64(round.strange))
	r.dirty = true
	r.figures.moved(*p)
	r.keep(round.unknown.any())
}

// gather fills a round. It returns when the round is full, when it has waited
// for more long enough, or with the log's error.
func (r *receiver) gather(ctx context.Context, rd *logRounds) error {
	rd.round.reset()
	limit := r.to.Shards * r.to.MaxSamples
	var until time.Time
	for rd.round.samples < limit {
		err := rd.one()
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		switch {
		case rd.round.samples == 0:
			r.figures.atEnd()
		case until.IsZero():
			until = time.Now().Add(roundWait)
		}
		if r.over(ctx) || !until.IsZero() && time.Now().After(until) {
			return nil
		}
		r.keep(false)
		r.pause(ctx, pollInterval)
	}
	return nil
}

// pause waits, at most until the receiver is to stop.
func (r *receiver) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.stop:
	case <-t.C:
	}
}

// save writes the position when it has moved and, unless now, has not been
// written just before.
func (r *receiver) save(now bool) error {
	if !r.dirty || !now && time.Since(r.saved) < saveInterval {
		return nil
	}
	r.saved = time.Now()
	if err := r.file.save(r.pos); err != nil {
		return err
	}
	r.dirty = false
	return nil
}

// keep is save where the work goes on without: samples will only be sent
// twice after a restart.
func (r *receiver) keep(now bool) {
	if err := r.save(now); err != nil {
		r.fault(err)
	}
}

// logRounds reads records into a round.
type logRounds struct {
	log       *logReader
	dec       *record.Decoder
	round     *round
	catalogue *catalogue
	samples   []record.RefSample
	named     []record.RefSeries
}

func (l *logRounds) one() error {
	rec, err := l.log.next()
	if err != nil {
		return err
	}
	switch t := l.dec.Type(rec); {
	case isSamples(t):
		if l.samples, err = l.dec.Samples(rec, l.samples[:0]); err != nil {
			return fmt.Errorf("%w: segment %d before offset %d: %w", errDamaged, l.log.segment, l.log.offset, err)
		}
		l.round.add(l.samples, l.catalogue)
	case isHistograms(t):
		l.round.strange++
	default:
		return l.series(rec)
	}
	return nil
}

// series takes the labels that a record names, if it does.
func (l *logRounds) series(rec []byte) (err error) {
	if l.dec.Type(rec) != record.Series {
		return nil
	}
	if l.named, err = l.dec.Series(rec, l.named[:0]); err != nil {
		return fmt.Errorf("%w: segment %d before offset %d: %w", errDamaged, l.log.segment, l.log.offset, err)
	}
	l.catalogue.put(l.named, l.log.segment)
	return nil
}
