package fleet

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// up counts one more and keeps the high-water mark.
func up(n, max *atomic.Int64) {
	v := n.Add(1)
	for {
		m := max.Load()
		if v <= m || max.CompareAndSwap(m, v) {
			return
		}
	}
}

// Event is a journal line.
type Event struct {
	Time  time.Time         `json:"t"`
	ID    int64             `json:"id"` // pairs the start and end of one run
	Host  string            `json:"host"`
	Event string            `json:"event"` // "start", "end", "dropped", "signal"
	User  string            `json:"user,omitempty"`
	Cmd   string            `json:"cmd,omitempty"`
	Env   map[string]string `json:"env,omitempty"`
	Code  int               `json:"code"`
}

func (f *Fleet) journal(e Event) {
	if f.cfg.Journal == nil {
		return
	}
	e.Time = time.Now()
	b, _ := json.Marshal(e)
	f.jmu.Lock()
	_, _ = f.cfg.Journal.Write(append(b, '\n'))
	f.jmu.Unlock()
}

// Stats is a snapshot of the counters.
type Stats struct {
	Accepted, Handshakes, AuthFailed, Execs, Completed, Dropped int64
	Open, MaxOpen, Running, MaxRunning                          int64
	MaxRunningPerHost, MaxOpenPerHost, MaxExecsPerHost          int64
	Regions                                                     map[string]RegionStats // by /16
}

// RegionStats sums the hosts of one /16.
type RegionStats struct{ Hosts, Conns, Execs, Running int64 }

// Stats reads the counters.
func (f *Fleet) Stats() Stats {
	s := &f.stats
	out := Stats{
		Accepted: s.Accepted.Load(), Handshakes: s.Handshakes.Load(), AuthFailed: s.AuthFailed.Load(),
		Execs: s.Execs.Load(), Completed: s.Completed.Load(), Dropped: s.Dropped.Load(),
		Open: s.open.Load(), MaxOpen: s.maxOpen.Load(), Running: s.running.Load(), MaxRunning: s.maxRunning.Load(),
		Regions: map[string]RegionStats{},
	}
	for a, h := range f.hosts {
		out.MaxRunningPerHost = max(out.MaxRunningPerHost, h.maxR.Load())
		out.MaxOpenPerHost = max(out.MaxOpenPerHost, h.maxOpen.Load())
		out.MaxExecsPerHost = max(out.MaxExecsPerHost, h.execs.Load())
		p, _ := a.Prefix(16)
		r := out.Regions[p.String()]
		r.Hosts++
		r.Conns += h.conns.Load()
		r.Execs += h.execs.Load()
		r.Running += h.running.Load()
		out.Regions[p.String()] = r
	}
	return out
}

// Hosts lists the addresses in order.
func (f *Fleet) Hosts() []netip.Addr {
	return slices.SortedFunc(slices.Values(f.cfg.Hosts), netip.Addr.Compare)
}

// DropConnections resets every open connection; the hosts stay up.
func (f *Fleet) DropConnections() {
	f.conns.Range(func(k, _ any) bool { reset(k.(*net.TCPConn)); return true })
}
