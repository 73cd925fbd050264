package snmpconn

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gosnmp/gosnmp"
)

func TestParseOID(t *testing.T) {
	for in, want := range map[string]OID{
		"1.3.6.1": {1, 3, 6, 1}, ".1.3.4294967295": {1, 3, 4294967295}, "0": {0},
		"": nil, ".": nil, "1..3": nil, "1.3.": nil, "1.-3": nil, "1.+3": nil, "1.4294967296": nil, "a": nil,
		strings.Repeat("1.", 128) + "1": nil,
	} {
		got, err := ParseOID(in)
		if (err == nil) != (want != nil) || !cmp.Equal(got, want) {
			t.Errorf("ParseOID(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestOIDOrder(t *testing.T) {
	list := []string{"1.3", "1.3.0", "1.3.1", "1.3.1.9", "1.3.2", "1.3.10", "1.3.4294967295", "1.4"}
	for i := range list {
		for j := range list {
			got := MustOID(list[i]).Compare(MustOID(list[j]))
			if (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s to %s: %d", list[i], list[j], got)
			}
		}
	}
	if MustOID("1.3.10").Under(MustOID("1.3.1")) || !MustOID("1.3.1.0").Under(MustOID("1.3.1")) || MustOID("1.3.1").Under(MustOID("1.3.1")) {
		t.Error("Under is wrong")
	}
}

func FuzzParseOID(f *testing.F) {
	for _, s := range []string{"1.3.6.1.2.1", ".1", "1..2", "", "4294967295", "1.99999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		oid, err := ParseOID(s)
		if err != nil {
			return
		}
		again, err := ParseOID(oid.String())
		if err != nil || again.Compare(oid) != 0 {
			t.Errorf("%q: %v, again %v, %v", s, oid, again, err)
		}
	})
}

// What a message holds must come out as values or as an error, never as a
// panic or a number made up.
func FuzzDecodeMessage(f *testing.F) {
	g := &gosnmp.GoSNMP{Version: gosnmp.Version2c, Community: "public"}
	seed, err := g.SnmpEncodePacket(gosnmp.GetResponse, []gosnmp.SnmpPDU{
		{Name: ".1.3.6.1.2.1.1.5.0", Type: gosnmp.OctetString, Value: "name"},
		{Name: ".1.3.6.1.2.1.1.3.0", Type: gosnmp.TimeTicks, Value: uint32(77)},
		{Name: ".1.3.6.1.2.1.1.2.0", Type: gosnmp.ObjectIdentifier, Value: ".1.3.6"},
	}, 0, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		reportOID(b)
		g := &gosnmp.GoSNMP{Version: gosnmp.Version2c, Community: "public"}
		p, err := func() (p *gosnmp.SnmpPacket, err error) {
			defer func() { // gosnmp's send does the same
				if recover() != nil {
					p = &gosnmp.SnmpPacket{}
				}
			}()
			return g.SnmpDecodePacket(b)
		}()
		if err != nil {
			return
		}
		for _, pdu := range p.Variables {
			v, err := newVar(pdu)
			if err != nil {
				continue
			}
			_ = v.Text()
			if _, isNumber := v.Number(); !isNumber && v.Exists() && (v.Type == Counter64 || v.Type == Gauge32) {
				t.Errorf("%v has type %v and no number", v.OID, v.Type)
			}
		}
	})
}
