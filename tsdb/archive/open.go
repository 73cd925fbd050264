package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// everKept is longer than any history: a picture deletes nothing.
const everKept = 200 * 365 * 24 * time.Hour

// Open opens the picture as a store, which replays its log. A damaged block is
// an error that names it. The store has to be closed before the picture.
func (s *Still) Open(block time.Duration, log *slog.Logger) (*tsdb.DB, error) {
	o := tsdb.DefaultOptions()
	o.NoLockfile = true
	o.RetentionDuration = everKept.Milliseconds()
	o.MinBlockDuration = block.Milliseconds()
	o.MaxBlockDuration = o.MinBlockDuration
	o.OutOfOrderTimeWindow = time.Hour.Milliseconds() // else late samples are not replayed
	db, err := tsdb.Open(s.dir, log, nil, o, nil)
	if err != nil {
		return nil, fmt.Errorf("open a picture of the history: %w", err)
	}
	db.DisableCompactions()
	return db, nil
}

// WriteHead writes what the picture's log holds as blocks of the picture, so
// that blocks hold all of it.
func WriteHead(ctx context.Context, db *tsdb.DB, block time.Duration) error {
	h, width := db.Head(), block.Milliseconds()
	from, to := h.MinTime(), h.MaxTime()
	for from <= to {
		until := from - ((from%width)+width)%width + width - 1
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := db.CompactHead(tsdb.NewRangeHead(h, from, min(to, until))); err != nil {
			return fmt.Errorf("write the head as blocks: %w", err)
		}
		from = until + 1
	}
	err := db.CompactOOOHead(ctx)
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		return fmt.Errorf("write the late samples as blocks: %w", err)
	}
	return nil
}
