package state

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Entry is one entry of a log.
type Entry[T any] struct {
	Seq   uint64    // dense, from 1
	At    time.Time // when it was committed, UTC; never before an earlier entry
	Value T
}

// Log is append-only: entries numbered from 1 without a gap, in the order in
// which they became durable. It is safe for concurrent use; several logs of
// one name are the same log.
type Log[T any] struct {
	db    *DB
	codec codec[T]
	tail  *tail
}

// logEntry is an entry still encoded.
type logEntry struct {
	seq uint64
	at  time.Time
	raw []byte // JSON
}

// tail is the last durable entry of a log, shared by all who hold the log.
type tail struct {
	mu    sync.Mutex // guards below
	last  logEntry
	moved chan struct{} // closed when last moves
}

func (t *tail) get() (logEntry, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.moved
}

func (t *tail) advance(e logEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = e
	close(t.moved)
	t.moved = make(chan struct{})
}

// in returns the tail as the batch leaves it so far.
func (t *tail) in(b *batch) logEntry {
	if e, ok := b.tails[t]; ok {
		return e
	}
	e, _ := t.get()
	return e
}

// NewLog opens the log of that name. version is the schema version of T and m
// its migrations, as for NewTable.
func NewLog[T any](db *DB, name string, version int, m ...Migration) (*Log[T], error) {
	l := &Log[T]{db: db, codec: newCodec[T](name, version, m)}
	var last logEntry
	err := db.view(func(txn *badger.Txn) (err error) {
		last, err = l.lastOf(txn)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", name, err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.logs[name] == nil {
		db.logs[name] = &tail{last: last, moved: make(chan struct{})}
	}
	l.tail = db.logs[name]
	db.raisers[string(l.prefix('l'))] = l.codec.raise
	return l, nil
}

// lastOf reads the last entry that a transaction sees.
func (l *Log[T]) lastOf(txn *badger.Txn) (last logEntry, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: l.prefix('l')})
	defer it.Close()
	// In reverse, the iterator starts at the greatest key not above this.
	if it.Seek(append(l.prefix('l'), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)); it.Valid() {
		if last, err = l.read(it.Item()); err != nil {
			return last, err
		}
	}
	n, err := get(txn, l.prefix('n'))
	if err == nil && n != nil && binary.BigEndian.Uint64(n) != last.seq {
		err = fmt.Errorf("%w: entry %d was written last, the last one found is %d", ErrDamaged, binary.BigEndian.Uint64(n), last.seq)
	}
	return last, err
}

// LastIn returns the last entry that a snapshot holds, one of Seq 0 when there
// is none.
func (l *Log[T]) LastIn(s *Snapshot) (Entry[T], error) {
	last, err := l.lastOf(s.txn)
	if err != nil {
		return Entry[T]{}, fmt.Errorf("last entry of %s: %w", l.codec.kind, err)
	}
	return l.decode(last)
}

func (l *Log[T]) prefix(space byte) []byte {
	return append(append([]byte{space}, l.codec.kind...), 0)
}

func (l *Log[T]) key(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(l.prefix('l'), seq)
}

// indexPrefix bounds key's length: a long one is stood for by its hash.
func (l *Log[T]) indexPrefix(key string) []byte {
	if len(key) > 256 {
		sum := sha256.Sum256([]byte(key))
		key = "sha256:" + hex.EncodeToString(sum[:])
	}
	return append(binary.AppendUvarint(l.prefix('x'), uint64(len(key))), key...)
}

func (l *Log[T]) uniqueKey(key string) []byte { return append(l.prefix('u'), key...) }

// read decodes the envelope of an item and checks its schema version.
func (l *Log[T]) read(item *badger.Item) (logEntry, error) {
	key := item.Key()
	seq := binary.BigEndian.Uint64(key[len(key)-8:])
	b, err := item.ValueCopy(nil)
	if err != nil {
		return logEntry{}, fmt.Errorf("%s %d: %w", l.codec.kind, seq, err)
	}
	e, err := decodeEnvelope(b)
	if err == nil && int(e.version) > l.codec.version {
		err = fmt.Errorf("%w: schema version %d, this one knows %d", ErrNewerSchema, e.version, l.codec.version)
	}
	if err != nil {
		return logEntry{}, fmt.Errorf("%s %d: %w", l.codec.kind, seq, err)
	}
	return logEntry{seq: seq, at: time.Unix(0, int64(e.stamp)).UTC(), raw: b}, nil
}

func (l *Log[T]) decode(e logEntry) (Entry[T], error) {
	if e.seq == 0 {
		return Entry[T]{}, nil
	}
	v, _, err := l.codec.decode(fmt.Sprint(e.seq), e.raw)
	return Entry[T]{Seq: e.seq, At: e.at, Value: v}, err
}

// stage appends v to the batch.
func (l *Log[T]) stage(b *batch, at time.Time, raw []byte, keys []string) uint64 {
	prev := l.tail.in(b)
	next := logEntry{seq: prev.seq + 1, at: at, raw: l.codec.wrap(uint64(at.UnixNano()), raw)}
	b.set(l.key(next.seq), next.raw)
	for _, k := range keys {
		b.set(binary.BigEndian.AppendUint64(l.indexPrefix(k), next.seq), nil)
	}
	b.set(l.prefix('n'), binary.BigEndian.AppendUint64(nil, next.seq))
	b.tails[l.tail] = next
	return next.seq
}

// now is the clock, never before the last entry's time.
func (l *Log[T]) now(b *batch) time.Time {
	now := time.Now().UTC().Round(0)
	if prev := l.tail.in(b); prev.at.After(now) {
		return prev.at
	}
	return now
}

// Append adds entries, all or none, and returns the number of the last. On
// return they are durable.
func (l *Log[T]) Append(v ...T) (last uint64, err error) {
	raws := make([][]byte, len(v))
	size := 0
	for i := range v {
		if raws[i], err = json.Marshal(v[i]); err != nil {
			return 0, fmt.Errorf("append to %s: %w", l.codec.kind, err)
		}
		size += len(raws[i]) + 64
	}
	err = l.db.submit(size, func(b *batch) error {
		at := l.now(b)
		for _, raw := range raws {
			last = l.stage(b, at, raw, nil)
		}
		return nil
	})
	return last, l.wrap(err)
}

// AppendIndexed adds one entry that ReadIndex finds under each of keys.
func (l *Log[T]) AppendIndexed(v T, keys ...string) (seq uint64, err error) {
	e, err := l.AppendNext(func(Entry[T], uint64, time.Time) (T, []string, error) { return v, keys, nil })
	return e.Seq, err
}

// AppendNext adds one entry that build makes from the one before it (Seq 0
// when there is none), its own number and time. build runs where the log is
// written, one at a time: it must be quick, must not use the database, and may
// run again when a commit has to be repeated.
func (l *Log[T]) AppendNext(build func(prev Entry[T], seq uint64, at time.Time) (v T, keys []string, err error)) (Entry[T], error) {
	var added Entry[T]
	err := l.db.submit(1024, func(b *batch) error {
		prev, err := l.decode(l.tail.in(b))
		if err != nil {
			return err
		}
		at := l.now(b)
		v, keys, err := build(prev, prev.Seq+1, at)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		added = Entry[T]{Seq: l.stage(b, at, raw, keys), At: at, Value: v}
		return nil
	})
	if err != nil {
		return Entry[T]{}, l.wrap(err)
	}
	return added, nil
}

// AppendUnique adds v unless an entry was added under key before: then it
// returns that entry's number and fresh is false.
func (l *Log[T]) AppendUnique(key string, v T) (seq uint64, fresh bool, err error) {
	if len(key) > maxIDLength {
		return 0, false, l.wrap(fmt.Errorf("a key has at most %d bytes", maxIDLength))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return 0, false, l.wrap(err)
	}
	err = l.db.submit(len(raw)+len(key)+128, func(b *batch) error {
		earlier, err := b.get(l.uniqueKey(key))
		if err != nil {
			return err
		}
		if earlier != nil {
			seq, fresh = binary.BigEndian.Uint64(earlier), false
			return nil
		}
		seq, fresh = l.stage(b, l.now(b), raw, nil), true
		b.set(l.uniqueKey(key), binary.BigEndian.AppendUint64(nil, seq))
		return nil
	})
	return seq, fresh, l.wrap(err)
}

func (l *Log[T]) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("append to %s: %w", l.codec.kind, err)
}

// Last returns the number of the last durable entry, 0 when there is none.
func (l *Log[T]) Last() uint64 {
	e, _ := l.tail.get()
	return e.seq
}

// Wait returns when Last is above after, or with an error when ctx ends or
// the database closes first.
func (l *Log[T]) Wait(ctx context.Context, after uint64) error {
	for {
		e, moved := l.tail.get()
		if e.seq > after {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.db.stop:
			return fmt.Errorf("wait for %s: %w", l.codec.kind, ErrClosed)
		case <-moved:
		}
	}
}

// Read returns the entries from number from on, oldest first, as the log stood
// when the loop began. An entry that cannot be read yields its error and ends
// the loop: a log with a hole is not a log.
func (l *Log[T]) Read(from uint64) iter.Seq2[Entry[T], error] {
	return l.scan(scan{space: l.prefix('l'), from: from})
}

// ReadBack returns all entries, newest first.
func (l *Log[T]) ReadBack() iter.Seq2[Entry[T], error] {
	return l.scan(scan{space: l.prefix('l'), back: true})
}

// ReadIndex returns the entries that were added under key, oldest first.
func (l *Log[T]) ReadIndex(key string) iter.Seq2[Entry[T], error] {
	return l.scan(scan{space: l.indexPrefix(key), index: true})
}

// ReadIndexBack returns the entries that were added under key, newest first.
func (l *Log[T]) ReadIndexBack(key string) iter.Seq2[Entry[T], error] {
	return l.scan(scan{space: l.indexPrefix(key), index: true, back: true})
}

// scan is one walk along keys that end in a number.
type scan struct {
	space []byte // the keys' prefix, all but the number
	from  uint64
	back  bool
	index bool // the keys are an index's: the entry is elsewhere
}

func (l *Log[T]) scan(s scan) iter.Seq2[Entry[T], error] {
	return func(yield func(Entry[T], error) bool) {
		start := s.from
		if s.back {
			start = ^uint64(0)
		}
		err := l.db.view(func(txn *badger.Txn) error {
			it := txn.NewIterator(badger.IteratorOptions{
				PrefetchValues: !s.index, PrefetchSize: 16, Prefix: s.space, Reverse: s.back,
			})
			defer it.Close()
			for it.Seek(binary.BigEndian.AppendUint64(slices.Clone(s.space), start)); it.Valid(); it.Next() {
				item := it.Item()
				if len(item.Key()) != len(s.space)+8 {
					continue // the index of a longer key
				}
				e, err := l.entry(txn, item, s.index)
				if !yield(e, err) || err != nil {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(Entry[T]{}, fmt.Errorf("read %s: %w", l.codec.kind, err))
		}
	}
}

// entry reads the entry that item is, or points to.
func (l *Log[T]) entry(txn *badger.Txn, item *badger.Item, index bool) (Entry[T], error) {
	if index {
		key := item.Key()
		seq := binary.BigEndian.Uint64(key[len(key)-8:])
		found, err := txn.Get(l.key(seq))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return Entry[T]{Seq: seq}, fmt.Errorf("%s %d: %w", l.codec.kind, seq, ErrNotFound)
		}
		if err != nil {
			return Entry[T]{Seq: seq}, fmt.Errorf("%s %d: %w", l.codec.kind, seq, err)
		}
		item = found
	}
	e, err := l.read(item)
	if err != nil {
		return Entry[T]{}, err
	}
	return l.decode(e)
}
