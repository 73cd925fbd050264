package snmp

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestIdentifiers(t *testing.T) {
	for _, tc := range []struct {
		f             func(uint64, []byte) (string, string)
		sub           uint64
		id            string
		subtype, text string
	}{
		{chassisID, 4, "\x00\x1b\x21\xab\xcd\xef", "macAddress", "00:1b:21:ab:cd:ef"},
		{chassisID, 4, "spine1", "macAddress", "73:70:69:6e:65:31"}, // six bytes are an address
		{chassisID, 4, "leaf-12", "macAddress", "leaf-12"},
		{chassisID, 5, "\x01\x0a\x00\x00\x07", "networkAddress", "10.0.0.7"},
		{chassisID, 5, "\x02\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "networkAddress", "2001:db8::1"},
		{chassisID, 5, "\x02\x0a\x00\x00\x07", "networkAddress", "020a000007"},
		{chassisID, 7, "SN 4711\x00", "local", "SN 4711"},
		{chassisID, 99, "x", "", "x"},
		{portID, 5, "Ethernet1/1", "interfaceName", "Ethernet1/1"},
		{portID, 3, "\x00\x1b\x21\xab\xcd\xef", "macAddress", "00:1b:21:ab:cd:ef"},
		{portID, 7, "\x01\x02", "local", "0102"},
		{portID, 1, "to the core ", "interfaceAlias", "to the core"},
		{portID, 0, "", "", ""},
	} {
		subtype, text := tc.f(tc.sub, []byte(tc.id))
		if subtype != tc.subtype || text != tc.text {
			t.Errorf("%d %q: %s %s, want %s %s", tc.sub, tc.id, subtype, text, tc.subtype, tc.text)
		}
	}
}

// What an agent sends becomes a label's value: it must be valid UTF-8.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "eth0\x00", "\xff\xfe", "\x01\x0a\x00\x00\x01", "Ünit"} {
		f.Add(uint64(5), []byte(s))
	}
	f.Fuzz(func(t *testing.T, sub uint64, b []byte) {
		_, c := chassisID(sub, b)
		_, p := portID(sub, b)
		for _, s := range []string{c, p, clean(string(b))} {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				t.Errorf("%q gives %q", b, s)
			}
		}
	})
}

// The local port number is found by name before it is taken for an ifIndex.
func TestLocalPorts(t *testing.T) {
	d := &device{}
	d.ifaces = map[uint32]*iface{
		1:   {index: 1, name: "Gi0/1", descr: "GigabitEthernet0/1", alias: "uplink", mac: "00:00:00:00:00:01"},
		2:   {index: 2, name: "Gi0/2", descr: "GigabitEthernet0/2", alias: "twice", mac: "00:00:00:00:00:02"},
		3:   {index: 3, name: "Gi0/3", descr: "GigabitEthernet0/3", alias: "twice", mac: "00:00:00:00:00:02"},
		513: {index: 513, name: "xe-0/0/0"},
	}
	n := d.names()
	for _, tc := range []struct {
		port uint32
		l    *localPort
		want string
	}{
		{1, nil, "Gi0/1"},
		{2, &localPort{sub: 5, text: "Gi0/1"}, "Gi0/1"}, // not the ifIndex 2
		{2, &localPort{sub: 5, text: "GigabitEthernet0/3"}, "Gi0/3"},
		{7, &localPort{sub: 3, text: "00:00:00:00:00:01"}, "Gi0/1"},
		{3, &localPort{sub: 3, text: "00:00:00:00:00:02"}, "Gi0/3"}, // two have that address
		{7, &localPort{sub: 1, text: "uplink"}, "Gi0/1"},
		{2, &localPort{sub: 1, text: "twice"}, "Gi0/2"},
		{7, &localPort{sub: 7, text: "513"}, "xe-0/0/0"},
		{7, &localPort{sub: 7, text: "?", descr: "Gi0/2"}, "Gi0/2"},
		{99, &localPort{sub: 5, text: "MEth0/0/1"}, "MEth0/0/1"}, // not in ifTable
		{99, &localPort{sub: 7, text: "9", descr: "mgmt"}, "mgmt"},
		{99, nil, "port 99"},
	} {
		if got := n.of(tc.port, tc.l); got != tc.want {
			t.Errorf("%d %+v: %q, want %q", tc.port, tc.l, got, tc.want)
		}
	}
}

func TestMetricsTable(t *testing.T) {
	sizes := []int{len(row{}.v), len(row{}.has), len(iface{}.cached)}
	if metrics[hcInOctets].name != "ifHCInOctets" || slices.ContainsFunc(sizes, func(n int) bool { return n != len(metrics) }) {
		t.Errorf("%d metrics, at %d is %s", len(metrics), hcInOctets, metrics[hcInOctets].name)
	}
	seen := map[string]bool{}
	for _, m := range metrics {
		if id := m.entry.Plus(m.arc).String(); seen[id] || seen[m.name] {
			t.Errorf("%s is there twice", m.name)
		} else {
			seen[id], seen[m.name] = true, true
		}
	}
}
