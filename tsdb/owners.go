package tsdb

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// errNotPermitted is how the library answers an append whose series it would
// have to create behind our back, because it dropped the one referred to.
var errNotPermitted = errors.New("series is not in the head")

// errLabels ends a walk over labels.
var errLabels = errors.New("labels")

// pageSize is how many references an owners page covers; the library counts
// them up, so that pages are full and two bytes a series are enough.
const pageSize = 4096

type page struct {
	held  int              // entries that are not zero
	owner [pageSize]uint16 // source number, 0 for none
}

// owners knows which source created each series of the head. It hears of
// series that go by the library's callback. Series from before Open have no
// owner until a source appends to them.
type owners struct {
	// creating is held while series are created and their record is written,
	// so that limits hold exactly and no batch sees a series whose record is
	// not in the log: its samples would be lost with it.
	creating sync.Mutex
	busy     atomic.Bool   // creating is held
	logged   atomic.Uint64 // highest reference known to be in the log
	anyLost  atomic.Bool   // unlogged is not empty

	permitMu sync.Mutex // guards below
	armed    bool       // the log is replayed: series need a permit
	permit   labels.Labels

	mu       sync.Mutex // guards below
	pages    map[uint64]*page
	unlogged map[uint64]bool // created, but the record's write failed
	sources  []*Source       // number 1 first
	nobody   atomic.Int64    // series without an owner, or more
}

func newOwners() *owners {
	return &owners{pages: map[uint64]*page{}, unlogged: map[uint64]bool{}}
}

// arm ends the replay, which left the given number of series.
func (o *owners) arm(series uint64) {
	o.permitMu.Lock()
	defer o.permitMu.Unlock()
	o.armed = true
	o.nobody.Store(int64(series))
}

// PreCreation lets through what Batch.create is about to make.
func (o *owners) PreCreation(ls labels.Labels) error {
	o.permitMu.Lock()
	defer o.permitMu.Unlock()
	if o.armed && !labels.Equal(ls, o.permit) {
		return errNotPermitted
	}
	return nil
}

func (o *owners) PostCreation(labels.Labels) {}

// PostDeletion takes the series that the head dropped from their owners.
func (o *owners) PostDeletion(gone map[chunks.HeadSeriesRef]labels.Labels) {
	o.permitMu.Lock()
	armed := o.armed
	o.permitMu.Unlock()
	if !armed {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for ref := range gone {
		delete(o.unlogged, uint64(ref))
		n, i := uint64(ref)/pageSize, uint64(ref)%pageSize
		p := o.pages[n]
		if p == nil || p.owner[i] == 0 {
			o.nobody.Add(-1)
			continue
		}
		o.sources[p.owner[i]-1].count(-1)
		p.owner[i] = 0
		if p.held--; p.held == 0 {
			delete(o.pages, n)
		}
	}
}

// allow permits the creation of one series, or none.
func (o *owners) allow(ls labels.Labels) {
	o.permitMu.Lock()
	o.permit = ls
	o.permitMu.Unlock()
}

// pending says whether the record of a series that was just found may not be
// in the log, yet or at all.
func (o *owners) pending(ref storage.SeriesRef) bool {
	return o.busy.Load() && uint64(ref) > o.logged.Load() || o.isLost(ref)
}

// claim makes src the owner of a series that has none. The series must have a
// sample that is not committed yet, so that the head cannot drop it meanwhile.
func (o *owners) claim(ref storage.SeriesRef, src *Source, isNew bool) {
	if !isNew && o.nobody.Load() <= 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n, i := uint64(ref)/pageSize, uint64(ref)%pageSize
	p := o.pages[n]
	if p == nil {
		p = new(page)
		o.pages[n] = p
	}
	if p.owner[i] != 0 {
		return
	}
	if !isNew {
		o.nobody.Add(-1)
	}
	p.owner[i] = src.number
	p.held++
	src.count(1)
}

// lost remembers series whose record could not be written.
func (o *owners) lost(refs []storage.SeriesRef) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range refs {
		o.unlogged[uint64(r)] = true
	}
	o.anyLost.Store(len(o.unlogged) > 0)
}

// isLost says whether a series has no record in the log, by which its samples
// would be gone after a restart.
func (o *owners) isLost(ref storage.SeriesRef) bool {
	if !o.anyLost.Load() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unlogged[uint64(ref)]
}
