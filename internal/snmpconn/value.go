package snmpconn

import (
	"fmt"
	"net/netip"

	"github.com/gosnmp/gosnmp"
)

// Type is the ASN.1 type of a value.
type Type byte

// The types of SMIv2 (RFC 2578) and what an agent says instead of a value
// (RFC 3416).
const (
	Integer          = Type(gosnmp.Integer)
	OctetString      = Type(gosnmp.OctetString)
	ObjectIdentifier = Type(gosnmp.ObjectIdentifier)
	IPAddress        = Type(gosnmp.IPAddress)
	Counter32        = Type(gosnmp.Counter32)
	Gauge32          = Type(gosnmp.Gauge32)
	TimeTicks        = Type(gosnmp.TimeTicks)
	Counter64        = Type(gosnmp.Counter64)
	NoSuchObject     = Type(gosnmp.NoSuchObject)
	NoSuchInstance   = Type(gosnmp.NoSuchInstance)
	endOfMibView     = Type(gosnmp.EndOfMibView)
)

// Var is one object of an answer.
type Var struct {
	OID   OID
	Type  Type
	value any
}

// Exists reports whether the agent has the object.
func (v Var) Exists() bool {
	return v.Type != NoSuchObject && v.Type != NoSuchInstance && v.Type != endOfMibView && v.Type != 0
}

// Index returns what follows root in the object's name.
func (v Var) Index(root OID) OID {
	if !v.OID.Under(root) {
		return nil
	}
	return v.OID[len(root):]
}

// Number returns the value of any numeric type.
func (v Var) Number() (float64, bool) {
	switch n := v.value.(type) {
	case int:
		return float64(n), true
	case uint:
		return float64(n), true
	case uint32:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float32:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// Uint returns the value of a numeric type that is not negative.
func (v Var) Uint() (uint64, bool) {
	switch n := v.value.(type) {
	case int:
		return uint64(n), n >= 0
	case uint:
		return uint64(n), true
	case uint32:
		return uint64(n), true
	case uint64:
		return n, true
	}
	return 0, false
}

// Bytes returns the value of an OCTET STRING.
func (v Var) Bytes() ([]byte, bool) {
	b, ok := v.value.([]byte)
	return b, ok
}

// Text returns the value as people write it: octets as they are, an object
// identifier or address dotted, a number in decimal.
func (v Var) Text() string {
	switch x := v.value.(type) {
	case nil:
		return ""
	case []byte:
		return string(x)
	case string:
		return x
	default:
		return fmt.Sprint(x)
	}
}

// newVar takes over what gosnmp decoded. gosnmp leaves values that it could
// not read as "unknown" without an error: here they are one.
func newVar(p gosnmp.SnmpPDU) (Var, error) {
	oid, err := ParseOID(p.Name)
	if err != nil {
		return Var{}, err
	}
	v := Var{OID: oid, Type: Type(p.Type), value: p.Value}
	switch p.Type {
	case gosnmp.Integer, gosnmp.Counter32, gosnmp.Gauge32, gosnmp.TimeTicks, gosnmp.Counter64, gosnmp.Uinteger32,
		gosnmp.OpaqueFloat, gosnmp.OpaqueDouble:
		if _, ok := v.Number(); !ok {
			return Var{}, fmt.Errorf("object %s has a number that cannot be read", oid)
		}
	case gosnmp.OctetString:
		if b, ok := p.Value.([]byte); ok {
			v.value = append([]byte(nil), b...) // p's bytes are the whole message's
		} else {
			v.value = []byte{}
		}
	case gosnmp.ObjectIdentifier:
		if s, ok := p.Value.(string); ok {
			o, err := ParseOID(s)
			if err != nil {
				return Var{}, fmt.Errorf("object %s: %w", oid, err)
			}
			v.value = o.String()
		}
	case gosnmp.IPAddress:
		if s, ok := p.Value.(string); ok {
			if _, err := netip.ParseAddr(s); err != nil {
				return Var{}, fmt.Errorf("object %s: %w", oid, err)
			}
		}
	case gosnmp.UnknownType:
		return Var{}, fmt.Errorf("object %s has a value of no known type", oid)
	}
	return v, nil
}
