package state

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/zstd"
)

// An export is a zstd stream of
//
//	exportMagic
//	uvarint since, uvarint upTo    the versions between which it tells what changed
//	's' KEY VALUE                  a key that was written, with its value
//	'd' KEY                        a key that was deleted
//	'e' SHA-256                    the end: 32 bytes over all before them
//
// where KEY and VALUE have their length before them as a uvarint. One of since
// 0 holds everything; the others go on top of the one whose upTo is their
// since.
const (
	exportMagic = "nocturne state export 1\n"
	opSet       = 's'
	opDelete    = 'd'
	opEnd       = 'e'
)

// ErrTooOld says that not all deletions since a version are known any more:
// export everything anew.
var ErrTooOld = errors.New("not all deletions since that version are known")

// Exported says what an export holds.
type Exported struct {
	UpTo    uint64 // what the next increment is since
	Written int    // keys with their values
	Deleted int
}

// Export writes what the snapshot holds that changed after version since, or
// all of it for 0. It returns ErrTooOld, before it writes anything, where the
// database no longer knows all that was deleted since.
func (s *Snapshot) Export(ctx context.Context, w io.Writer, since uint64) (x Exported, err error) {
	x.UpTo = s.Version()
	var gone []string
	if since > 0 {
		var ok bool
		if gone, ok = s.db.deletions.since(since); !ok || since > x.UpTo {
			return x, fmt.Errorf("export state since version %d: %w", since, ErrTooOld)
		}
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return x, fmt.Errorf("export state: %w", err)
	}
	e := &exportWriter{}
	h := sha256.New()
	e.w = bufio.NewWriterSize(io.MultiWriter(z, h), 64<<10)
	e.text(exportMagic)
	e.number(since)
	e.number(x.UpTo)
	err = s.walk(ctx, since, true, func(key, value []byte) error {
		x.Written++
		e.op(opSet)
		e.field(key)
		e.field(value)
		return e.err
	})
	if err == nil {
		x.Deleted, err = s.exportDeleted(e, gone)
	}
	if err == nil {
		e.op(opEnd)
		e.flush()
		e.text(string(h.Sum(nil)))
		e.flush()
		err = e.err
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return x, fmt.Errorf("export state: %w", err)
	}
	return x, nil
}

// exportDeleted writes those of the keys that the snapshot does not hold.
func (s *Snapshot) exportDeleted(e *exportWriter, keys []string) (n int, err error) {
	told := map[string]bool{}
	for _, k := range keys {
		if told[k] {
			continue
		}
		told[k] = true
		_, err := s.txn.Get([]byte(k))
		if err == nil {
			continue // written again, or not deleted yet
		}
		if !errors.Is(err, badger.ErrKeyNotFound) {
			return n, fmt.Errorf("read key %q: %w", k, err)
		}
		n++
		e.op(opDelete)
		e.field([]byte(k))
	}
	return n, e.err
}

// exportWriter keeps its first error.
type exportWriter struct {
	w   *bufio.Writer
	err error
}

func (e *exportWriter) op(b byte)       { e.text(string(b)) }
func (e *exportWriter) number(n uint64) { e.bytes(binary.AppendUvarint(nil, n)) }
func (e *exportWriter) text(s string)   { e.bytes([]byte(s)) }

func (e *exportWriter) field(b []byte) {
	e.number(uint64(len(b)))
	e.bytes(b)
}

func (e *exportWriter) bytes(b []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
}

func (e *exportWriter) flush() {
	if e.err == nil {
		e.err = e.w.Flush()
	}
}
