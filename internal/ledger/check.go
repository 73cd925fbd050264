package ledger

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	// firstCheck is how long after the start the whole chain is first checked:
	// the start itself checks only its end, so as not to wait for all of it.
	firstCheck = time.Minute
	checkEvery = 24 * time.Hour
)

// Verdict is what a check of the whole chain found.
type Verdict struct {
	At      time.Time // it ended
	Entries uint64    // that hold
	Err     error     // wraps ErrBroken; nil when all hold
}

// Verify checks the whole chain and returns how many entries hold. Its error
// wraps ErrBroken and names the first entry that does not.
func (c *Chain) Verify(ctx context.Context) (n uint64, err error) {
	n, err = c.verify(ctx, 1)
	if err == nil || errors.Is(err, ErrBroken) {
		c.verdict.Store(&Verdict{At: time.Now(), Entries: n, Err: err})
	}
	return n, err
}

// LastVerdict is that of the last check of the whole chain, also when somebody
// asked for it; ok is false before the first.
func (c *Chain) LastVerdict() (v Verdict, ok bool) {
	if p := c.verdict.Load(); p != nil {
		return *p, true
	}
	return Verdict{}, false
}

// Run checks the whole chain once a day until ctx ends. What is broken is
// logged, and told by LastVerdict.
func (c *Chain) Run(ctx context.Context, log *slog.Logger) error {
	next := time.NewTimer(firstCheck)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		if n, err := c.Verify(ctx); err != nil && ctx.Err() == nil {
			log.Error("the ledger does not hold", "component", "ledger", "entries", n, "err", err)
		}
		next.Reset(checkEvery)
	}
}
