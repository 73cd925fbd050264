package state

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/zstd"
)

// Part is one export on its way into a new database.
type Part struct {
	Name string // for errors
	io.Reader
}

// longestField keeps a damaged length from taking all memory.
const longestField = 256 << 20

// importTable is the size of a table in memory while importing: larger than
// while serving, since nothing else runs.
const importTable = 32 << 20

// Import makes a database of exports: one of everything, then the increments on
// top of it in their order. The folder has to be absent or empty. On an error
// it holds a part, which is to be thrown away; without one it is on disk.
func Import(ctx context.Context, dir string, parts ...Part) (err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("import state: %s is not empty", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("import state: %w", err)
	}
	o := badgerOptions(Options{Dir: dir}, slog.New(slog.DiscardHandler)).
		WithSyncWrites(false).WithMemTableSize(importTable)
	b, err := badger.Open(o)
	if err != nil {
		return openError(dir, err)
	}
	upTo := uint64(0)
	for _, p := range parts {
		if upTo, err = importPart(ctx, b, p, upTo); err != nil {
			err = fmt.Errorf("import state from %s: %w", p.Name, err)
			break
		}
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return err
	}
	if err := syncTree(dir); err != nil {
		return fmt.Errorf("import state: %w", err)
	}
	return nil
}

// importPart writes what one export holds and returns its upTo. Its checksum is
// known at the end alone, so what was written before an error has no worth.
func importPart(ctx context.Context, b *badger.DB, p Part, after uint64) (upTo uint64, err error) {
	z, err := zstd.NewReader(p, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	defer z.Close()
	r := &exportReader{r: bufio.NewReaderSize(z, 64<<10), h: sha256.New()}
	since, upTo, err := r.header()
	if err != nil {
		return 0, err
	}
	if since != after {
		return 0, fmt.Errorf("it goes on from version %d, but what came before ends at %d", since, after)
	}
	w := b.NewWriteBatch()
	defer w.Cancel()
	for n := 0; ; n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		more, err := r.apply(w)
		if err != nil {
			return 0, fmt.Errorf("at entry %d: %w", n+1, err)
		}
		if !more {
			break
		}
	}
	return upTo, w.Flush()
}

// exportReader reads an export and sums up what it read.
type exportReader struct {
	r *bufio.Reader
	h hash.Hash
}

func (r *exportReader) ReadByte() (byte, error) {
	b, err := r.r.ReadByte()
	if err == nil {
		r.h.Write([]byte{b})
	}
	return b, err
}

func (r *exportReader) header() (since, upTo uint64, err error) {
	magic := make([]byte, len(exportMagic))
	if _, err := io.ReadFull(r.r, magic); err != nil {
		return 0, 0, cutShort(err)
	}
	if string(magic) != exportMagic {
		return 0, 0, fmt.Errorf("%w: it does not begin as an export of state that this version knows", ErrDamaged)
	}
	r.h.Write(magic)
	if since, err = binary.ReadUvarint(r); err != nil {
		return 0, 0, cutShort(err)
	}
	upTo, err = binary.ReadUvarint(r)
	return since, upTo, cutShort(err)
}

// apply hands the next entry on, and tells whether there may be another.
func (r *exportReader) apply(w *badger.WriteBatch) (more bool, err error) {
	op, err := r.ReadByte()
	if err != nil {
		return false, cutShort(err)
	}
	if op == opEnd {
		return false, r.end()
	}
	key, err := r.field()
	if err != nil {
		return false, err
	}
	switch op {
	case opDelete:
		return true, w.Delete(key)
	case opSet:
		value, err := r.field()
		if err != nil {
			return false, err
		}
		return true, w.Set(key, value)
	}
	return false, fmt.Errorf("%w: no entry begins with byte %d", ErrDamaged, op)
}

func (r *exportReader) end() error {
	want := r.h.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.r, got); err != nil {
		return cutShort(err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: its checksum differs", ErrDamaged)
	}
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(fmt.Errorf("%w: it goes on behind its end", ErrDamaged), err)
	}
	return nil
}

func (r *exportReader) field() ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, cutShort(err)
	}
	if n > longestField {
		return nil, fmt.Errorf("%w: a field of %d bytes", ErrDamaged, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, cutShort(err)
	}
	r.h.Write(b)
	return b, nil
}

// cutShort says what an early end means.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut short", ErrDamaged)
	}
	return err
}

// syncTree makes a folder and all in it durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
