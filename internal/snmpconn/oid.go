package snmpconn

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// OID is an object identifier, one number an arc.
type OID []uint32

// maxArcs is the most an object identifier can have (RFC 2578, 3.5).
const maxArcs = 128

// ParseOID reads dotted numbers, with or without a leading dot.
func ParseOID(s string) (OID, error) {
	rest := strings.TrimPrefix(s, ".")
	if rest == "" {
		return nil, fmt.Errorf("oid %q is empty", s)
	}
	oid := make(OID, 0, 16)
	for more := true; more; {
		var arc string
		arc, rest, more = strings.Cut(rest, ".")
		n, err := strconv.ParseUint(arc, 10, 32)
		if err != nil || arc[0] == '+' {
			return nil, fmt.Errorf("oid %q: arc %q is not a number below 2^32", s, arc)
		}
		if len(oid) == maxArcs {
			return nil, fmt.Errorf("oid %q has more than %d arcs", s, maxArcs)
		}
		oid = append(oid, uint32(n))
	}
	return oid, nil
}

// MustOID is ParseOID for constants; it panics.
func MustOID(s string) OID {
	oid, err := ParseOID(s)
	if err != nil {
		panic(err)
	}
	return oid
}

// String returns the dotted form without a leading dot.
func (o OID) String() string {
	b := make([]byte, 0, 4*len(o))
	for i, n := range o {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	return string(b)
}

// Compare orders as agents do: arc by arc, the shorter one first.
func (o OID) Compare(p OID) int { return slices.Compare(o, p) }

// Under reports whether o lies below root.
func (o OID) Under(root OID) bool {
	return len(o) > len(root) && slices.Equal(o[:len(root)], root)
}

// Plus returns a new OID with arcs appended.
func (o OID) Plus(arcs ...uint32) OID {
	return append(slices.Clip(slices.Clone(o)), arcs...)
}
