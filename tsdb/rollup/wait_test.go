package rollup

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

// TestWaitingHeedsTheContext has every writer of a tier wait for another.
func TestWaitingHeedsTheContext(t *testing.T) {
	t.Parallel()
	tier, err := Open(Options{Dir: t.TempDir(), Width: time.Minute, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer tier.Close()
	writers := map[string]func(context.Context) error{
		"write":  func(ctx context.Context) error { return tier.Write(ctx, Range{0, time.Hour.Milliseconds()}, nil) },
		"merge":  func(ctx context.Context) error { _, err := tier.Merge(ctx); return err },
		"retain": func(ctx context.Context) error { _, err := tier.Retain(ctx, time.Now(), 0); return err },
		"delete": func(ctx context.Context) error { return tier.Delete(ctx, 0, 1) },
		"clean":  tier.CleanTombstones,
	}
	if err := tier.writing.Acquire(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for name, do := range writers {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s beside a writer: %v", name, err)
		}
		cancel()
	}
	tier.writing.Release(1)
	for name, do := range writers {
		if err := do(t.Context()); err != nil {
			t.Errorf("%s alone: %v", name, err)
		}
	}
}
