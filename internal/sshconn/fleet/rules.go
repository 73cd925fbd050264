package fleet

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Mode is how a host behaves.
type Mode string

// The modes, in the order a connection would reach them.
const (
	OK          Mode = "ok"
	Refuse      Mode = "refuse"       // nothing listens; decided at Start
	HangConnect Mode = "hang-connect" // TCP opens, nothing is sent
	Garbage     Mode = "garbage"      // not an SSH server
	HangKex     Mode = "hang-kex"     // version line, then nothing
	ChangedKey  Mode = "changed-key"  // another host key than KnownHosts lists
	HangAuth    Mode = "hang-auth"    // key exchange done, authentication never answered
	AuthReject  Mode = "auth-reject"  // every credential is denied
	HangSession Mode = "hang-session" // the session channel is never confirmed
	HangExec    Mode = "hang-exec"    // the command starts and never ends
	SlowOutput  Mode = "slow-output"  // a trickle of output
	HugeOutput  Mode = "huge-output"  // more output than anyone wants
	DropOutput  Mode = "drop-output"  // reset in the middle of the output
	DropExec    Mode = "drop-exec"    // the command runs, then a reset before its status
	NoStatus    Mode = "no-status"    // channel closed without an exit status
	ExitNonZero Mode = "exit-nonzero" // fails cleanly
)

// Modes lists every mode.
var Modes = []Mode{OK, Refuse, HangConnect, Garbage, HangKex, ChangedKey, HangAuth, AuthReject,
	HangSession, HangExec, SlowOutput, HugeOutput, DropOutput, DropExec, NoStatus, ExitNonZero}

// Rule puts the hosts of a selector into a mode.
type Rule struct {
	Mode    Mode
	From    netip.Addr // an address range, both ends included, if valid
	To      netip.Addr
	Percent float64 // or a share of the hosts, chosen by hash of seed and address
}

func (r Rule) matches(a netip.Addr, seed string) bool {
	if r.From.IsValid() && (a.Less(r.From) || r.To.Less(a)) {
		return false
	}
	if r.Percent > 0 {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s|%s|%s", seed, r.Mode, a)
		x := h.Sum64()
		x ^= x >> 33
		x *= 0xff51afd7ed558ccd // murmur3 finaliser: FNV's high bits are weak on short keys
		x ^= x >> 33
		return float64(x%100000) < r.Percent*1000
	}
	return r.From.IsValid()
}

// ParseRule reads MODE=SELECTOR, the selector being RANGE, P%, or RANGE@P%.
func ParseRule(s string) (r Rule, err error) {
	mode, sel, ok := strings.Cut(s, "=")
	if !ok {
		return r, fmt.Errorf("fault %q: want MODE=SELECTOR", s)
	}
	r.Mode = Mode(mode)
	known := false
	for _, m := range Modes {
		known = known || m == r.Mode
	}
	if !known {
		return r, fmt.Errorf("fault %q: unknown mode", s)
	}
	rng, pct, both := strings.Cut(sel, "@")
	if !both && strings.HasSuffix(sel, "%") {
		rng, pct = "", sel
	}
	if pct != "" {
		if r.Percent, err = strconv.ParseFloat(strings.TrimSuffix(pct, "%"), 64); err != nil {
			return r, fmt.Errorf("fault %q: %v", s, err)
		}
	}
	if rng != "" {
		r.From, r.To, err = parseRange(rng)
	}
	return r, err
}

func toInt(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }
func fromInt(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// parseRange reads A, A-B, A+N (N addresses from A) or a CIDR prefix.
func parseRange(s string) (from, to netip.Addr, err error) {
	fail := func() (netip.Addr, netip.Addr, error) {
		return from, to, fmt.Errorf("bad address range %q", s)
	}
	addr := func(s string) (netip.Addr, bool) {
		a, err := netip.ParseAddr(s)
		return a, err == nil && a.Is4()
	}
	ok := false
	if a, b, is := strings.Cut(s, "-"); is {
		if from, ok = addr(a); ok {
			to, ok = addr(b)
		}
	} else if a, b, is := strings.Cut(s, "+"); is {
		n, e := strconv.ParseUint(b, 10, 24)
		if from, ok = addr(a); ok && e == nil && n > 0 {
			to = fromInt(toInt(from) + uint32(n) - 1)
		} else {
			ok = false
		}
	} else if strings.Contains(s, "/") {
		p, e := netip.ParsePrefix(s)
		if ok = e == nil && p.Addr().Is4(); ok {
			from = p.Masked().Addr()
			to = fromInt(toInt(from) | uint32(1<<(32-p.Bits())-1))
		}
	} else {
		from, ok = addr(s)
		to = from
	}
	if !ok || to.Less(from) {
		return fail()
	}
	return from, to, nil
}

// ParseHosts reads a comma-separated list of ranges (A, A-B, A+N, CIDR), at
// most a million addresses, each once, in order.
func ParseHosts(s string) ([]netip.Addr, error) {
	seen := map[netip.Addr]bool{}
	var out []netip.Addr
	for part := range strings.SplitSeq(s, ",") {
		from, to, err := parseRange(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if toInt(to)-toInt(from) >= 1<<20 || len(out) > 1<<20 {
			return nil, fmt.Errorf("more than a million hosts in %q", s)
		}
		for n := toInt(from); ; n++ {
			if a := fromInt(n); !seen[a] {
				seen[a] = true
				out = append(out, a)
			}
			if n == toInt(to) {
				break
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}
