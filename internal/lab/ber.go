package lab

import (
	"encoding/binary"
	"errors"
	"slices"
)

// BER as SNMP uses it (RFC 3417, section 8). Written apart from the library
// that the collector uses, so that one does not confirm the other's mistakes.

const (
	tagInteger   = 0x02
	tagOctets    = 0x04
	tagNull      = 0x05
	tagOID       = 0x06
	tagSequence  = 0x30
	tagIPAddress = 0x40
	tagCounter32 = 0x41
	tagGauge32   = 0x42
	tagTimeTicks = 0x43
	tagCounter64 = 0x46
	tagNoSuchObj = 0x80
	tagNoSuchIns = 0x81
	tagEndOfMib  = 0x82
)

var errBER = errors.New("malformed BER")

// readTLV returns the first element's tag and content, and what follows it.
func readTLV(b []byte) (tag byte, content, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, errBER
	}
	n, head := int(b[1]), 2
	if n >= 0x80 {
		k := n & 0x7f
		if k < 1 || k > 3 || len(b) < 2+k {
			return 0, nil, nil, errBER
		}
		n = 0
		for _, c := range b[2 : 2+k] {
			n = n<<8 | int(c)
		}
		head += k
	}
	if len(b) < head+n {
		return 0, nil, nil, errBER
	}
	return b[0], b[head : head+n], b[head+n:], nil
}

func readTag(b []byte, tag byte) (content, rest []byte, err error) {
	got, content, rest, err := readTLV(b)
	if err == nil && got != tag {
		err = errBER
	}
	return content, rest, err
}

func readInt(b []byte) (int64, []byte, error) {
	v, rest, err := readTag(b, tagInteger)
	if err != nil || len(v) == 0 || len(v) > 8 {
		return 0, rest, errBER
	}
	x := int64(int8(v[0]))
	for _, c := range v[1:] {
		x = x<<8 | int64(c)
	}
	return x, rest, nil
}

func readOID(v []byte) (oid, error) {
	var out oid
	var s uint64
	pending := false
	for _, c := range v {
		s = s<<7 | uint64(c&0x7f)
		pending = c&0x80 != 0
		if s > 0xffffffff {
			return nil, errBER
		}
		if pending {
			continue
		}
		if len(out) == 0 {
			first := min(s/40, 2)
			out = append(out, uint32(first))
			s -= first * 40
		}
		out = append(out, uint32(s))
		s = 0
	}
	if pending || len(out) == 0 {
		return nil, errBER
	}
	return out, nil
}

func appendTLV(d []byte, tag byte, content []byte) []byte {
	d = append(d, tag)
	switch n := len(content); {
	case n < 0x80:
		d = append(d, byte(n))
	case n < 0x100:
		d = append(d, 0x81, byte(n))
	default:
		d = append(d, 0x82, byte(n>>8), byte(n))
	}
	return append(d, content...)
}

func signed(x int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(x))
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:]
	}
	return b
}

func unsigned(x uint64) []byte {
	b := append([]byte{0}, binary.BigEndian.AppendUint64(nil, x)...)
	for len(b) > 1 && b[0] == 0 && b[1] < 0x80 {
		b = b[1:]
	}
	return b
}

type oid []uint32

func (o oid) compare(p oid) int { return slices.Compare(o, p) }

func (o oid) content() []byte {
	if len(o) < 2 {
		return []byte{0}
	}
	d := base128(nil, o[0]*40+o[1])
	for _, s := range o[2:] {
		d = base128(d, s)
	}
	return d
}

func base128(d []byte, s uint32) []byte {
	for shift := 28; shift > 0; shift -= 7 {
		if s>>shift != 0 {
			d = append(d, byte(s>>shift)&0x7f|0x80)
		}
	}
	return append(d, byte(s)&0x7f)
}

// value is one object's value as it goes over the wire.
type value struct {
	tag     byte
	content []byte
}

func integer(x int) value      { return value{tagInteger, signed(int64(x))} }
func octets(s string) value    { return value{tagOctets, []byte(s)} }
func counter32(x uint64) value { return value{tagCounter32, unsigned(x & 0xffffffff)} }
func gauge32(x uint64) value   { return value{tagGauge32, unsigned(min(x, 0xffffffff))} }
func counter64(x uint64) value { return value{tagCounter64, unsigned(x)} }
func timeTicks(x uint64) value { return value{tagTimeTicks, unsigned(x & 0xffffffff)} }
func objectID(o oid) value     { return value{tagOID, o.content()} }
func exception(tag byte) value { return value{tag, nil} }

func appendVarbind(d []byte, o oid, v value) []byte {
	return appendTLV(d, tagSequence, appendTLV(appendTLV(nil, tagOID, o.content()), v.tag, v.content))
}
