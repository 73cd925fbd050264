package state

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// raiser brings a stored value up to the schema version of its kind. The
// result is nil where it is there already. id names it in errors.
type raiser func(id string, stored []byte) ([]byte, error)

// raise keeps revision and time: what is told of the record is the same.
func (c codec[T]) raise(id string, stored []byte) ([]byte, error) {
	e, err := decodeEnvelope(stored)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", c.kind, id, err)
	}
	if int(e.version) == c.version {
		return nil, nil
	}
	raw, err := c.migrate(id, e)
	if err != nil {
		return nil, err
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %w", c.kind, id, ErrDamaged, err)
	}
	return c.wrap(e.stamp, raw), nil
}

// knows has the database bring up what is stored under a prefix.
func (db *DB) knows(prefix []byte, r raiser) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.raisers[string(prefix)] = r
}

// Raised says what Raise found.
type Raised struct {
	Records int // that were brought up
	// Faults are of records that cannot be brought up. They stay as they are,
	// and are errors when they are read.
	Faults []error
}

// raisedAtOnce is how many records are looked at between two commits.
const raisedAtOnce = 500

// Raise brings every record and log entry of the kinds that have a table or a
// log by now up to their schema versions, where else that is done each time one
// is read. Interrupted, it goes on where it is called again.
func (db *DB) Raise(ctx context.Context) (done Raised, err error) {
	db.mu.Lock()
	raisers := maps.Clone(db.raisers)
	db.mu.Unlock()
	for _, prefix := range slices.Sorted(maps.Keys(raisers)) {
		if err := db.raiseAll(ctx, []byte(prefix), raisers[prefix], &done); err != nil {
			return done, fmt.Errorf("bring records up to this version: %w", err)
		}
	}
	return done, nil
}

func (db *DB) raiseAll(ctx context.Context, prefix []byte, raise raiser, done *Raised) error {
	for from := prefix; from != nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var keys [][]byte
		var size int
		var err error
		if keys, size, from, err = db.outdated(prefix, from, raise, done); err != nil {
			return err
		}
		if len(keys) == 0 {
			continue
		}
		n := 0
		if err := db.submit(size, func(b *batch) error {
			n = 0
			for _, key := range keys {
				stored, err := b.get(key)
				if err != nil {
					return err
				}
				if stored == nil {
					continue // deleted meanwhile
				}
				raised, err := raise(string(key[len(prefix):]), stored)
				if err != nil {
					return err
				}
				if raised != nil {
					b.set(key, raised)
					n++
				}
			}
			return nil
		}); err != nil {
			return err
		}
		done.Records += n
	}
	return nil
}

// outdated lists keys to be brought up from a key on, and where to go on; nil
// at the end. The values of what it lists stay well below a batch.
func (db *DB) outdated(prefix, from []byte, raise raiser, done *Raised) (keys [][]byte, size int, next []byte, err error) {
	err = db.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 64, Prefix: prefix})
		defer it.Close()
		seen := 0
		for it.Seek(from); it.Valid(); it.Next() {
			if seen == raisedAtOnce || size > maxBatchBytes/2 {
				next = it.Item().KeyCopy(nil)
				return nil
			}
			seen++
			key := it.Item().KeyCopy(nil)
			stored, err := it.Item().ValueCopy(nil)
			if err != nil {
				done.Faults = append(done.Faults, fmt.Errorf("%q: %w", key, err))
				continue
			}
			raised, err := raise(string(key[len(prefix):]), stored)
			if err != nil {
				done.Faults = append(done.Faults, err)
			} else if raised != nil {
				keys = append(keys, key)
				size += len(raised) + len(key) + 64
			}
		}
		return nil
	})
	return keys, size, next, err
}
