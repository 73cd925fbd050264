package remotewrite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Wire types of https://protobuf.dev/programming-guides/encoding/. Groups are
// not taken: no message here has had any.
const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

var (
	errCut   = errors.New("protobuf message is cut")
	errShape = errors.New("protobuf message is malformed")
)

// field is one field of a message.
type field struct {
	number uint64
	wire   uint8
	n      uint64 // of a varint or fixed field
	sub    []byte // of a field of bytes
}

// next reads the first field of b and returns what follows it.
func next(b []byte) (f field, rest []byte, err error) {
	tag, k := varint(b)
	if k <= 0 {
		return f, nil, cutOr(k)
	}
	b = b[k:]
	f.number, f.wire = tag>>3, uint8(tag&7)
	if f.number == 0 || f.number > math.MaxInt32>>2 {
		return f, nil, errShape
	}
	switch f.wire {
	case wireVarint:
		if f.n, k = varint(b); k <= 0 {
			return f, nil, cutOr(k)
		}
		return f, b[k:], nil
	case wireFixed8:
		if len(b) < 8 {
			return f, nil, errCut
		}
		f.n = binary.LittleEndian.Uint64(b)
		return f, b[8:], nil
	case wireBytes:
		size, k := varint(b)
		if k <= 0 {
			return f, nil, cutOr(k)
		}
		if size > uint64(len(b)-k) {
			return f, nil, errCut
		}
		f.sub = b[k : k+int(size)]
		return f, b[k+int(size):], nil
	case wireFixed4:
		if len(b) < 4 {
			return f, nil, errCut
		}
		return f, b[4:], nil
	}
	return f, nil, errShape
}

// varint is binary.Uvarint with the short case in line.
func varint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

func cutOr(k int) error {
	if k == 0 {
		return errCut
	}
	return errShape
}

// want checks the wire type of a field that is known.
func (f field) want(wire uint8, name string) error {
	if f.wire != wire {
		return fmt.Errorf("%s has wire type %d: %w", name, f.wire, errShape)
	}
	return nil
}

// point is a sample of either protocol: value 1, timestamp 2.
type point struct {
	t int64
	v float64
}

func decodePoint(b []byte) (p point, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil {
			return p, err
		}
		switch f.number {
		case 1:
			if err := f.want(wireFixed8, "sample value"); err != nil {
				return p, err
			}
			p.v = math.Float64frombits(f.n)
		case 2:
			if err := f.want(wireVarint, "sample timestamp"); err != nil {
				return p, err
			}
			p.t = int64(f.n)
		case 3: // start timestamp of 2.0, which the store does not keep
			if err := f.want(wireVarint, "sample start timestamp"); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}
