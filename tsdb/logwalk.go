package tsdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/util/compression"
)

// The format of a log segment, as the library's wlog writes it: pages of
// 32 KiB with fragments of records, each behind a header of type and flags
// (1 byte), length (2) and CRC-32C of the fragment (4), big-endian. A record
// ends in the segment that it began in; zeros fill a page's rest.
const (
	pageBytes       = 32 << 10
	fragmentHeader  = 7
	fragmentMask    = 1<<3 - 1
	fragmentSnappy  = 1 << 3
	fragmentZstd    = 1 << 4
	fragmentFull    = 1
	fragmentFirst   = 2
	fragmentMiddle  = 3
	fragmentLast    = 4
	fragmentPadding = 0
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logDamage is a stretch of a segment that holds no readable record.
type logDamage struct {
	off, end int64
	err      error
}

// logWalk reads a segment to its end whatever is damaged on the way, where
// the library's reader stops at the first fault.
type logWalk struct {
	data []byte
	// record is called with each record as it was written (compressed as
	// compr says), valid until the call returns, and where it begins.
	record func(off int64, compr compression.Type, rec []byte)

	damage []logDamage
	rec    []byte
	begin  int64 // of the record under way
	open   bool  // a record is under way
	lost   bool  // what follows may belong to a record that damage took
}

// walkLog reads a segment and returns what of it cannot be read.
func walkLog(data []byte, each func(off int64, compr compression.Type, rec []byte)) []logDamage {
	w := &logWalk{data: data, record: each}
	for page := 0; page < len(data); page += pageBytes {
		w.page(page, min(page+pageBytes, len(data)))
	}
	if w.open {
		w.bad(w.begin, int64(len(data)), errors.New("last record is torn"))
	}
	return w.damage
}

func (w *logWalk) bad(from, to int64, err error) {
	if w.open {
		from, w.open = min(from, w.begin), false
	}
	w.lost = true
	if last := len(w.damage) - 1; last >= 0 && w.damage[last].end >= from {
		w.damage[last].end = max(w.damage[last].end, to)
		return
	}
	w.damage = append(w.damage, logDamage{from, to, err})
}

// page reads the fragments from byte i on to the page's end. After one with a
// wrong checksum it goes on where that one says it ends, and gives the page up
// at a second.
func (w *logWalk) page(i, end int) {
	doubt := false
	for i < end {
		size, err := w.fragment(w.data[i:end], int64(i))
		if err == nil && size > 0 {
			i, doubt = i+size, false
			continue
		}
		if err == nil {
			return // padding
		}
		if doubt || size == 0 {
			w.bad(int64(i), int64(end), err)
			return
		}
		w.bad(int64(i), int64(i+size), err)
		i, doubt = i+size, true
	}
}

// fragment reads the fragment at the beginning of b and returns its size: 0
// where only padding follows, or where the size is no more to be believed than
// the fragment.
func (w *logWalk) fragment(b []byte, off int64) (int, error) {
	kind := b[0] & fragmentMask
	if kind == fragmentPadding || len(b) < fragmentHeader {
		if len(bytes.Trim(b, "\x00")) > 0 {
			return 0, errors.New("data in the padding of a page")
		}
		return 0, nil
	}
	size := fragmentHeader + int(binary.BigEndian.Uint16(b[1:]))
	if size > len(b) {
		return 0, fmt.Errorf("a record of %d bytes in the last %d of a page", size, len(b))
	}
	part := b[fragmentHeader:size]
	if want, got := binary.BigEndian.Uint32(b[3:]), crc32.Checksum(part, castagnoli); got != want {
		return size, fmt.Errorf("checksum %x, expected %x", got, want)
	}
	return size, w.join(kind, b[0], part, off)
}

// join adds a whole fragment to the record under way.
func (w *logWalk) join(kind, flags byte, part []byte, off int64) error {
	begins, ends := kind == fragmentFull || kind == fragmentFirst, kind == fragmentFull || kind == fragmentLast
	switch {
	case !begins && !ends && kind != fragmentMiddle:
		return fmt.Errorf("fragment of unknown type %d", kind)
	case begins && w.open:
		w.bad(w.begin, off, errors.New("a record without its end"))
	case !begins && !w.open:
		if w.lost { // the rest of what the damage took
			w.bad(off, off+int64(fragmentHeader+len(part)), errors.New("the rest of a damaged record"))
			return nil
		}
		return errors.New("a record without its beginning")
	}
	if begins {
		w.rec, w.begin, w.open = w.rec[:0], off, true
	}
	w.rec = append(w.rec, part...)
	if !ends {
		return nil
	}
	w.open = false
	compr := compressionOf(flags)
	// The flags have no checksum, and the library skips what it does not know.
	if compr == compression.None && recordType(w.rec) == record.Unknown {
		return errors.New("record of unknown type")
	}
	w.lost = false
	w.record(w.begin, compr, w.rec)
	return nil
}

func compressionOf(flags byte) compression.Type {
	switch {
	case flags&fragmentSnappy != 0:
		return compression.Snappy
	case flags&fragmentZstd != 0:
		return compression.Zstd
	}
	return compression.None
}

func recordType(rec []byte) record.Type {
	var d record.Decoder
	return d.Type(rec)
}
