package snmp

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"nocturne/internal/snmpconn"
)

// The subtypes of identifiers in LLDP-MIB (IEEE 802.1AB-2005, 12.2).
const (
	subPortInterfaceAlias = 1
	subPortMAC            = 3
	subPortInterfaceName  = 5
	subPortLocal          = 7
)

var (
	chassisSubtypes = [...]string{1: "chassisComponent", 2: "interfaceAlias", 3: "portComponent",
		4: "macAddress", 5: "networkAddress", 6: "interfaceName", 7: "local"}
	portSubtypes = [...]string{1: "interfaceAlias", 2: "portComponent", 3: "macAddress",
		4: "networkAddress", 5: "interfaceName", 6: "agentCircuitId", 7: "local"}
)

// chassisID returns the subtype's word and the identifier as people write it.
func chassisID(sub uint64, id []byte) (subtype, text string) {
	return word(chassisSubtypes[:], sub), identifier(sub == 4, sub == 5, id)
}

// portID is chassisID for a port, whose subtypes have other numbers.
func portID(sub uint64, id []byte) (subtype, text string) {
	return word(portSubtypes[:], sub), identifier(sub == 3, sub == 4, id)
}

func word(words []string, n uint64) string {
	if n < uint64(len(words)) {
		return words[n]
	}
	return ""
}

func identifier(isMAC, isAddress bool, id []byte) string {
	switch {
	case isMAC && len(id) == 6:
		return mac(id)
	case isAddress && len(id) > 1:
		// The first byte is the IANA address family: 1 IPv4, 2 IPv6.
		if a, ok := netip.AddrFromSlice(id[1:]); ok && (id[0] == 1) == a.Is4() {
			return a.String()
		}
	}
	if !printable(id) {
		return hex.EncodeToString(id)
	}
	return clean(string(id))
}

// physAddress returns the address of ifPhysAddress, "" when it is none.
func physAddress(v snmpconn.Var) string {
	b, ok := v.Bytes()
	if !ok || len(b) == 0 {
		return ""
	}
	return mac(b)
}

// mac writes octets as aa:bb:cc:dd:ee:ff.
func mac(b []byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 3*len(b))
	for i, c := range b {
		if i > 0 {
			out = append(out, ':')
		}
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

// printable reports whether octets are text, but for zeros at their end.
func printable(b []byte) bool {
	s := strings.TrimRight(string(b), "\x00")
	if !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) })
}

// clean makes text of a DisplayString as agents send it: without the zeros
// that Windows adds, and valid UTF-8, as a label's value must be.
func clean(s string) string {
	return strings.TrimSpace(strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD"))
}
