package access

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoginLocksAndOpensAgain(t *testing.T) {
	p := open(t, t.TempDir())
	p.root(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[error]int{}
	for range 12 { // parallel guesses count like others
		wg.Go(func() {
			_, err := p.Login(t.Context(), "root", "wrong password", "192.0.2.1:999")
			mu.Lock()
			defer mu.Unlock()
			for _, want := range []error{ErrDenied, ErrLocked} {
				if errors.Is(err, want) {
					outcomes[want]++
				}
			}
		})
	}
	wg.Wait()
	if outcomes[ErrDenied] != nameBurst || outcomes[ErrLocked] != 12-nameBurst {
		t.Fatalf("outcomes of 12 wrong passwords: %v", outcomes)
	}
	if _, err := p.Login(t.Context(), "root", password, "192.0.2.1:1"); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "try again in") {
		t.Errorf("right password while locked: %v", err)
	}
	if _, err := p.Login(t.Context(), "root", password, "192.0.2.2:1"); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	key, _ := loginKeys("root", "192.0.2.1:1")
	p.limits.keys[key].at = time.Now().Add(-nameDecay)
	if _, err := p.Login(t.Context(), "root", password, "192.0.2.1:1"); err != nil {
		t.Errorf("a minute later: %v", err)
	}
	for range nameBurst - 1 {
		if _, err := p.Login(t.Context(), "root", "wrong password", "192.0.2.1:1"); !errors.Is(err, ErrDenied) {
			t.Errorf("after a success: %v", err)
		}
	}
}

func TestLimiterDecays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter()
		f := func(want time.Duration) {
			t.Helper()
			if got := l.take("k", 3, time.Minute); got != want {
				t.Errorf("wait %s, want %s", got, want)
			}
		}
		f(0)
		f(0)
		f(0)
		f(time.Minute + time.Second)
		time.Sleep(30 * time.Second)
		f(30*time.Second + time.Second) // asking while locked does not prolong
		time.Sleep(31 * time.Second)
		f(0)
		f(time.Minute)
		time.Sleep(time.Hour)
		f(0)
		f(0)
		f(0)
		f(time.Minute + time.Second)
		l.forget("k")
		f(0)
	})
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter()
	for range 3 {
		l.take("held", 3, time.Minute)
	}
	for i := range maxLimited + 100 {
		l.take(fmt.Sprint(i), 3, time.Minute)
	}
	if len(l.keys) > maxLimited {
		t.Errorf("%d keys", len(l.keys))
	}
	if l.take("held", 3, time.Minute) == 0 {
		t.Error("a flood of other keys unlocked this one")
	}
}

func TestLoginKeys(t *testing.T) {
	f := func(from, want string) {
		t.Helper()
		if _, got := loginKeys("n", from); got != "address\x00"+want {
			t.Errorf("%s counts as %q", from, got)
		}
	}
	f("192.0.2.1:80", "192.0.2.1")
	f("192.0.2.1", "192.0.2.1")
	f("[::ffff:192.0.2.1]:80", "192.0.2.1")
	f("[2001:db8::1%eth0]:80", "2001:db8::/64")
	f("2001:db8::ffff", "2001:db8::/64")
	f("pipe", "pipe")
}
