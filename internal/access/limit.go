package access

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Failed logins: a name at one address has nameBurst attempts, then one a
// minute; an address has addressBurst over all names, then one each 6 s.
const (
	nameBurst    = 5
	nameDecay    = time.Minute
	addressBurst = 50
	addressDecay = 6 * time.Second
	maxLimited   = 10_000 // keys remembered
)

// limiter counts attempts per key; the counts decay with time. An attempt
// counts before its outcome is known, so that parallel guesses count as well.
type limiter struct {
	mu   sync.Mutex // guards below
	keys map[string]*attempts
}

type attempts struct {
	n     float64 // as of at
	at    time.Time
	decay time.Duration // for one attempt to be forgotten
}

func newLimiter() *limiter { return &limiter{keys: map[string]*attempts{}} }

func (a *attempts) now() float64 {
	return max(0, a.n-float64(time.Since(a.at))/float64(a.decay))
}

// loginKeys returns the key of name at the address, and of the address. IPv6
// addresses count by /64, which is what one customer has.
func loginKeys(name, from string) (byName, byAddress string) {
	if ap, err := netip.ParseAddrPort(from); err == nil {
		from = ap.Addr().String()
	}
	if a, err := netip.ParseAddr(from); err == nil {
		a = a.Unmap().WithZone("")
		from = a.String()
		if p, err := a.Prefix(64); a.Is6() && err == nil {
			from = p.String()
		}
	}
	return strings.Join([]string{"name", name, from}, "\x00"), "address\x00" + from
}

// take counts one attempt, or says how long there may be none.
func (l *limiter) take(key string, burst float64, decay time.Duration) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.keys[key]
	if a == nil {
		l.makeRoom()
		a = &attempts{at: time.Now(), decay: decay}
		l.keys[key] = a
	}
	n := a.now()
	if n+1 > burst {
		return time.Duration((n+1-burst)*float64(decay)).Round(time.Second) + time.Second
	}
	a.n, a.at = n+1, time.Now()
	return 0
}

// forget drops the key after a success.
func (l *limiter) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, key)
}

// giveBack takes one attempt off the key: it was not a failure.
func (l *limiter) giveBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.keys[key]; a != nil {
		a.n = max(0, a.n-1)
	}
}

// makeRoom drops what has decayed and, if need be, the key with the fewest
// attempts.
func (l *limiter) makeRoom() {
	if len(l.keys) < maxLimited {
		return
	}
	least := ""
	for k, a := range l.keys {
		if a.now() == 0 {
			delete(l.keys, k)
		} else if least == "" || a.now() < l.keys[least].now() {
			least = k
		}
	}
	if len(l.keys) >= maxLimited {
		delete(l.keys, least)
	}
}
