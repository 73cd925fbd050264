package state

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// Snapshot is the database as it stood at one moment; writes go on beside it.
// It has to be closed before the database can be.
type Snapshot struct {
	db   *DB
	txn  *badger.Txn
	once sync.Once
}

// Snapshot takes one. Everything that was acknowledged before is in it.
func (db *DB) Snapshot() (*Snapshot, error) {
	if err := db.enter(); err != nil {
		return nil, fmt.Errorf("take a snapshot of state: %w", err)
	}
	return &Snapshot{db: db, txn: db.badger.NewTransaction(false)}, nil
}

// Close lets it go. Closing twice does no harm.
func (s *Snapshot) Close() {
	s.once.Do(func() {
		s.txn.Discard()
		s.db.leave()
	})
}

// Version numbers the moment: a later commit has a higher one. It is of this
// database alone; a restored copy counts anew.
func (s *Snapshot) Version() uint64 { return s.txn.ReadTs() }

// Content is what a snapshot holds of one kind.
type Content struct {
	Records int `json:"records"`
	// Digest is the SHA-256 over all keys and values in the order of the keys,
	// the length of each before it as a uvarint. Empty where it was not asked for.
	Digest string `json:"digest,omitempty"`
}

// Content counts what the snapshot holds, by kind: "record device", "log
// ledger", "index ledger". With digests it reads all values too.
func (s *Snapshot) Content(ctx context.Context, digests bool) (map[string]Content, error) {
	all := map[string]Content{}
	sums := map[string]hash.Hash{}
	err := s.walk(ctx, 0, digests, func(key, value []byte) error {
		kind := kindOf(key)
		c := all[kind]
		c.Records++
		all[kind] = c
		if !digests {
			return nil
		}
		if sums[kind] == nil {
			sums[kind] = sha256.New()
		}
		for _, b := range [][]byte{key, value} {
			sums[kind].Write(binary.AppendUvarint(nil, uint64(len(b))))
			sums[kind].Write(b)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count what state holds: %w", err)
	}
	for kind, h := range sums {
		all[kind] = Content{all[kind].Records, hex.EncodeToString(h.Sum(nil))}
	}
	return all, nil
}

// kindOf names what a key is of; see the package comment for the spaces.
func kindOf(key []byte) string {
	spaces := map[byte]string{'m': "last revision", 'r': "record ", 'l': "log ", 'n': "end of log ", 'x': "index ", 'u': "unique "}
	name, _, _ := strings.Cut(string(key[1:]), "\x00")
	return spaces[key[0]] + name
}

// walk calls each with the keys written after version since, in their order.
// values says whether they are read; key and value are valid until each returns.
func (s *Snapshot) walk(ctx context.Context, since uint64, values bool, each func(key, value []byte) error) error {
	it := s.txn.NewIterator(badger.IteratorOptions{PrefetchValues: values, PrefetchSize: 64, SinceTs: since})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		item := it.Item()
		if !values {
			if err := each(item.Key(), nil); err != nil {
				return err
			}
			continue
		}
		if err := item.Value(func(v []byte) error { return each(item.Key(), v) }); err != nil {
			return fmt.Errorf("read key %q: %w", item.Key(), err)
		}
	}
	return nil
}
