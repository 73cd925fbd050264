package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

const revisionKey = "m"

// A batch stays well below Badger's limit of a transaction (15 % of a
// memtable, 600 KB here).
const (
	maxBatchOps   = 1000
	maxBatchBytes = 256 << 10
)

// op is one atomic write on its way to the committer.
type op struct {
	// plan checks and stages the write. It may run more than once, and must
	// stage nothing when it returns an error.
	plan func(b *batch) error
	size int // bytes that plan stages, about
	err  error
	done chan struct{}
}

// batch is what commits together: one transaction, one fsync.
type batch struct {
	txn     *badger.Txn
	rev     uint64
	tails   map[*tail]logEntry // tails of logs as this batch leaves them
	events  []event
	deleted []string // keys
	changes uint64
	err     error // first failed set; the batch is thrown away
}

func (b *batch) nextRev() Rev {
	b.rev++
	return Rev(b.rev)
}

func (b *batch) get(key []byte) ([]byte, error) { return get(b.txn, key) }

func (b *batch) set(key, value []byte) {
	b.changes++
	if err := b.txn.Set(key, value); err != nil && b.err == nil {
		b.err = err
	}
}

func (b *batch) delete(key []byte) {
	b.changes++
	b.deleted = append(b.deleted, string(key))
	if err := b.txn.Delete(key); err != nil && b.err == nil {
		b.err = err
	}
}

// get returns a copy of the value, nil when there is none.
func get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

// submit hands one write to the committer and waits until it is durable.
func (db *DB) submit(size int, plan func(b *batch) error) error {
	return db.submitAll([]*op{{plan: plan, size: size}})[0].err
}

// submitAll hands over several writes and waits for all.
func (db *DB) submitAll(ops []*op) []*op {
	if err := db.enter(); err != nil {
		for _, o := range ops {
			o.err = err
		}
		return ops
	}
	defer db.leave()
	for _, o := range ops {
		o.done = make(chan struct{})
		db.queue <- o
	}
	for _, o := range ops {
		<-o.done
	}
	return ops
}

// commitLoop is the one writer. While it waits for an fsync the next writes
// gather in the queue and share the following one.
func (db *DB) commitLoop() {
	defer close(db.done)
	var next *op
	for {
		first := next
		next = nil
		if first == nil {
			var ok bool
			if first, ok = <-db.queue; !ok {
				db.endWatches()
				return
			}
		}
		ops := []*op{first}
		size := first.size
	gather:
		for len(ops) < maxBatchOps && size < maxBatchBytes {
			select {
			case o, ok := <-db.queue:
				if !ok {
					break gather
				}
				if size+o.size > maxBatchBytes {
					next = o
					break gather
				}
				ops = append(ops, o)
				size += o.size
			default:
				break gather
			}
		}
		db.commit(ops)
		for _, o := range ops {
			close(o.done)
		}
	}
}

// commit writes ops in one transaction, or in halves where they do not fit.
func (db *DB) commit(ops []*op) {
	err := db.try(ops)
	if err == nil {
		return
	}
	if errors.Is(err, badger.ErrTxnTooBig) && len(ops) > 1 {
		db.commit(ops[:len(ops)/2])
		db.commit(ops[len(ops)/2:])
		return
	}
	for _, o := range ops {
		if o.err == nil {
			o.err = fmt.Errorf("commit: %w", err)
		}
	}
}

// try plans and commits ops. An op that its own checks refuse gets its error
// and the others go on; the returned error concerns the whole batch.
func (db *DB) try(ops []*op) error {
	if err := db.failure(); err != nil {
		return err
	}
	b := &batch{txn: db.badger.NewTransaction(true), rev: db.rev, tails: map[*tail]logEntry{}}
	defer b.txn.Discard()
	for _, o := range ops {
		o.err = o.plan(b)
		if b.err != nil {
			return b.err
		}
	}
	if b.changes == 0 {
		return nil
	}
	if b.rev != db.rev {
		b.set([]byte(revisionKey), binary.BigEndian.AppendUint64(nil, b.rev))
	}
	if b.err != nil {
		return b.err
	}
	if l := db.room.check(); l != nil {
		return l.err
	}
	db.deletions.note(b.txn.ReadTs(), b.deleted)
	if err := b.txn.Commit(); err != nil {
		return db.fail(err)
	}
	db.rev = b.rev
	for t, e := range b.tails {
		t.advance(e)
	}
	db.publish(b)
	return nil
}
