package snmp

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// lldpRemote is 1.0.8802.1.1.2.1.4, the tables of what is heard, as BER has it.
var lldpRemote = []byte{0x28, 0xc4, 0x62, 1, 1, 2, 1, 4}

// relay passes datagrams on to an agent and back, but for those that name the
// tables of neighbours, while deaf is set: an agent whose LLDP is broken.
func relay(t *testing.T, agent string, deaf *atomic.Bool) string {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp", agent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close(); back.Close() })
	var asks atomic.Pointer[net.Addr]
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := front.ReadFrom(buf)
			if err != nil {
				return
			}
			asks.Store(&from)
			if !deaf.Load() || !bytes.Contains(buf[:n], lldpRemote) {
				_, _ = back.Write(buf[:n])
			}
		}
	}()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := back.Read(buf)
			if err != nil {
				return
			}
			_, _ = front.WriteTo(buf[:n], *asks.Load())
		}
	}()
	return front.LocalAddr().String()
}

// TestWhatIdentifyMissedRemains: neighbours are asked for once a minute. What
// is wrong with them is so in the polls between, too, while what those ask for
// is whole.
func TestWhatIdentifyMissedRemains(t *testing.T) {
	var deaf atomic.Bool
	deaf.Store(true)
	s := newSource()
	tg := target("box", relay(t, snmpd(t), &deaf), "v2c")
	first, err := pollOnce(t, s, tg)
	if err != nil || len(first.Partial) == 0 || len(first.Facts) == 0 {
		t.Fatalf("%d facts, partial %v, %v", len(first.Facts), first.Partial, err)
	}
	for range 2 {
		r, err := pollOnce(t, s, tg)
		if err != nil || len(r.Partial) > 0 || len(r.Facts) > 0 || len(r.Samples) == 0 {
			t.Fatalf("between: %d facts, partial %v, %v", len(r.Facts), r.Partial, err)
		}
		if !slices.ContainsFunc(r.Remains, func(err error) bool { return strings.Contains(err.Error(), "neighbours (LLDP)") }) {
			t.Fatalf("between: what remains unseen is %v", r.Remains)
		}
	}
	deaf.Store(false)
	s.devices["box"].named = time.Time{} // a minute later
	for range 2 {
		if r, err := pollOnce(t, s, tg); err != nil || len(r.Partial)+len(r.Remains) > 0 {
			t.Fatalf("LLDP is well again: partial %v, remains %v, %v", r.Partial, r.Remains, err)
		}
	}
}
