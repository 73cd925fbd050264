package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"
)

// Rev is the revision of a record: larger with every write to the database.
// In a write, 0 means that the record must not exist.
type Rev uint64

// Skip returned by the function given to Update leaves the record as it is.
//
//lint:ignore ST1012 it is no failure; fs.SkipDir is named likewise
var Skip = errors.New("leave the record as it is")

const maxIDLength = 4096

// Record is one stored value with its id and revision.
type Record[T any] struct {
	ID    string
	Rev   Rev
	Value T
}

// Table holds the records of one kind, each a value of type T stored as JSON.
// It is safe for concurrent use; several tables of one kind see the same
// records.
type Table[T any] struct {
	db    *DB
	codec codec[T]
}

// NewTable names the records of one kind in db. version is the schema version
// of T, from 1; m[i] migrates a stored value from version i+1 to i+2, on
// reading, and once for all in Raise. It panics when kind is not visible ASCII or a migration is missing.
func NewTable[T any](db *DB, kind string, version int, m ...Migration) *Table[T] {
	t := &Table[T]{db: db, codec: newCodec[T](kind, version, m)}
	db.knows(t.prefix(), t.codec.raise)
	return t
}

func (t *Table[T]) prefix() []byte { return append([]byte("r"+t.codec.kind), 0) }

func (t *Table[T]) key(id string) []byte { return append(t.prefix(), id...) }

// wrap names the record.
func (t *Table[T]) wrap(id string, err error) error {
	return fmt.Errorf("%s %s: %w", t.codec.kind, id, err)
}

// Get returns the record, or ErrNotFound.
func (t *Table[T]) Get(id string) (v T, rev Rev, err error) {
	var b []byte
	if err = t.db.view(func(txn *badger.Txn) error {
		b, err = get(txn, t.key(id))
		return err
	}); err != nil {
		return v, 0, t.wrap(id, err)
	}
	if b == nil {
		return v, 0, t.wrap(id, ErrNotFound)
	}
	v, stamp, err := t.codec.decode(id, b)
	return v, Rev(stamp), err
}

// Put writes the record when its revision is still rev; rev 0 creates it.
// Otherwise it returns ErrConflict. On return the write is durable.
func (t *Table[T]) Put(id string, v T, rev Rev) (Rev, error) {
	o, written, err := t.putOp(id, v, func(stored Rev) error {
		if stored != rev {
			return t.wrap(id, fmt.Errorf("%w: based on revision %d, now %d", ErrConflict, rev, stored))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if t.db.submitAll([]*op{o})[0].err != nil {
		return 0, o.err
	}
	return *written, nil
}

// putOp prepares a write that check may refuse, given the stored revision.
func (t *Table[T]) putOp(id string, v T, check func(stored Rev) error) (*op, *Rev, error) {
	if id == "" || len(id) > maxIDLength {
		return nil, nil, t.wrap(id, fmt.Errorf("an id has 1 to %d bytes", maxIDLength))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, nil, t.wrap(id, err)
	}
	written := new(Rev)
	return &op{size: len(raw) + len(id) + 64, plan: func(b *batch) error {
		stored, err := t.stored(b, id)
		if err != nil {
			return err
		}
		if err := check(stored); err != nil {
			return err
		}
		*written = b.nextRev()
		value := t.codec.wrap(uint64(*written), raw)
		b.set(t.key(id), value)
		b.events = append(b.events, event{t.codec.kind, id, *written, value})
		return nil
	}}, written, nil
}

// stored returns the revision of the record, 0 when there is none. A record
// of a newer schema is never overwritten.
func (t *Table[T]) stored(b *batch, id string) (Rev, error) {
	v, err := b.get(t.key(id))
	if err != nil {
		return 0, t.wrap(id, err)
	}
	if v == nil {
		return 0, nil
	}
	e, err := decodeEnvelope(v)
	if err == nil && int(e.version) > t.codec.version {
		err = fmt.Errorf("%w: schema version %d, this one knows %d", ErrNewerSchema, e.version, t.codec.version)
	}
	if err != nil {
		return 0, t.wrap(id, err)
	}
	return Rev(e.stamp), nil
}

// Update reads the record, lets f change it and writes it back; where another
// writer came between it starts again, so f may run more than once. exists
// tells f whether there was a record. f's error is returned as it is and
// nothing is written; Skip likewise, but without an error.
func (t *Table[T]) Update(id string, f func(v *T, exists bool) error) (T, Rev, error) {
	for {
		v, rev, err := t.Get(id)
		exists := err == nil
		if err != nil && !errors.Is(err, ErrNotFound) {
			return v, 0, err
		}
		if err := f(&v, exists); errors.Is(err, Skip) {
			return v, rev, nil
		} else if err != nil {
			return v, rev, err
		}
		written, err := t.Put(id, v, rev)
		if errors.Is(err, ErrConflict) {
			continue
		}
		return v, written, err
	}
}

// Delete removes the record when its revision is still rev, or whatever its
// revision where rev is 0. Without a record it returns ErrNotFound.
func (t *Table[T]) Delete(id string, rev Rev) error {
	return t.db.submit(len(id)+64, func(b *batch) error {
		stored, err := t.stored(b, id)
		if err != nil {
			return err
		}
		if stored == 0 {
			return t.wrap(id, ErrNotFound)
		}
		if rev != 0 && stored != rev {
			return t.wrap(id, fmt.Errorf("%w: based on revision %d, now %d", ErrConflict, rev, stored))
		}
		b.delete(t.key(id))
		b.events = append(b.events, event{t.codec.kind, id, b.nextRev(), nil})
		return nil
	})
}

// PutMany writes many records with few fsyncs. Each is atomic by itself: one
// with a Rev that is no longer the stored one is left and reported, the others
// are written. Rev 0 overwrites whatever there is.
func (t *Table[T]) PutMany(recs []Record[T]) error {
	var errs []error
	ops := make([]*op, 0, len(recs))
	for _, r := range recs {
		o, _, err := t.putOp(r.ID, r.Value, func(stored Rev) error {
			if r.Rev != 0 && stored != r.Rev {
				return t.wrap(r.ID, fmt.Errorf("%w: based on revision %d, now %d", ErrConflict, r.Rev, stored))
			}
			return nil
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ops = append(ops, o)
	}
	for _, o := range t.db.submitAll(ops) {
		errs = append(errs, o.err)
	}
	return errors.Join(errs...)
}

// All returns the records whose id begins with prefix, ordered by id, as they
// stood when the loop began. A record that cannot be read yields its error
// with its ID and the loop goes on with the next.
func (t *Table[T]) All(prefix string) iter.Seq2[Record[T], error] {
	return func(yield func(Record[T], error) bool) {
		err := t.db.view(func(txn *badger.Txn) error {
			it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 16, Prefix: t.key(prefix)})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				r, err := t.record(it.Item())
				if !yield(r, err) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(Record[T]{}, fmt.Errorf("list %s: %w", t.codec.kind, err))
		}
	}
}

func (t *Table[T]) record(item *badger.Item) (Record[T], error) {
	id := string(bytes.TrimPrefix(item.Key(), t.prefix()))
	b, err := item.ValueCopy(nil)
	if err != nil {
		return Record[T]{ID: id}, t.wrap(id, err)
	}
	v, stamp, err := t.codec.decode(id, b)
	return Record[T]{ID: id, Rev: Rev(stamp), Value: v}, err
}
