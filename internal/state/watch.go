package state

import (
	"context"
	"strings"
	"sync"
)

// Change is one committed write that a watch saw.
type Change[T any] struct {
	ID      string
	Rev     Rev
	Value   T    // zero when deleted
	Deleted bool // the record is gone
	// Resync says that changes were dropped because the reader fell behind,
	// or that one could not be read: list the table again. The other fields
	// are empty.
	Resync bool
}

// watchBuffer changes may wait for a slow reader.
const watchBuffer = 256

// event is a committed write, still encoded.
type event struct {
	kind, id string
	rev      Rev
	value    []byte // nil when deleted
}

// watch is the queue of one reader.
type watch struct {
	prefix string
	wake   chan struct{} // of capacity 1

	mu      sync.Mutex // guards below
	pending []event
	behind  bool
}

func (w *watch) offer(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) >= watchBuffer {
		w.pending, w.behind = nil, true
	}
	if w.behind {
		return // the reader lists anew after its Resync
	}
	w.pending = append(w.pending, e)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take empties the queue. A reader that fell behind gets nothing but that
// fact; every change after this call is queued again.
func (w *watch) take() (events []event, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events, behind = w.pending, w.behind
	w.pending, w.behind = nil, false
	return events, behind
}

// publish hands a durable batch to the watches, in commit order.
func (db *DB) publish(b *batch) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.written += b.changes
	for _, e := range b.events {
		for w := range db.watches[e.kind] {
			if strings.HasPrefix(e.id, w.prefix) {
				w.offer(e)
			}
		}
	}
}

// endWatches lets every watch deliver what it has and end.
func (db *DB) endWatches() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.watches = nil
}

// Watch sends every change of the records whose id begins with prefix, those
// of one record in their order, from the moment Watch returns until ctx ends
// or the database closes; then the channel is closed. To miss nothing, watch
// first and list then.
func (t *Table[T]) Watch(ctx context.Context, prefix string) <-chan Change[T] {
	out := make(chan Change[T])
	w := &watch{prefix: prefix, wake: make(chan struct{}, 1)}
	db := t.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		close(out)
		return out
	}
	if db.watches[t.codec.kind] == nil {
		db.watches[t.codec.kind] = map[*watch]struct{}{}
	}
	db.watches[t.codec.kind][w] = struct{}{}
	go func() {
		defer close(out)
		defer db.unwatch(t.codec.kind, w)
		for t.deliver(ctx, w, out) {
			select {
			case <-ctx.Done():
				return
			case <-db.stop:
				return
			case <-w.wake:
			}
		}
	}()
	return out
}

func (db *DB) unwatch(kind string, w *watch) {
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.watches[kind], w)
}

// deliver sends what waits; false when the reader is gone.
func (t *Table[T]) deliver(ctx context.Context, w *watch, out chan<- Change[T]) bool {
	events, behind := w.take()
	changes := make([]Change[T], 0, len(events)+1)
	if behind {
		changes = append(changes, Change[T]{Resync: true})
	}
	for _, e := range events {
		changes = append(changes, t.change(e))
	}
	for _, c := range changes {
		select {
		case out <- c:
		case <-ctx.Done():
			return false
		case <-t.db.stop:
			return false
		}
	}
	return true
}

func (t *Table[T]) change(e event) Change[T] {
	if e.value == nil {
		return Change[T]{ID: e.id, Rev: e.rev, Deleted: true}
	}
	v, _, err := t.codec.decode(e.id, e.value)
	if err != nil {
		return Change[T]{Resync: true} // listing reports the error
	}
	return Change[T]{ID: e.id, Rev: e.rev, Value: v}
}
