package tsdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// roomInterval is how often a store that lacks room looks after itself.
const roomInterval = time.Second

// readOnly returns why nothing is appended at present.
func (db *DB) readOnly() error {
	if err := db.logs.broken(); err != nil {
		return errors.Join(ErrReadOnly, err)
	}
	if err := db.inner.faults.failed(); err != nil {
		return errors.Join(ErrReadOnly, err)
	}
	return db.room.check()
}

// watchRoom keeps the store out of the way of a full disk, and brings it back
// when there is room. It blocks until ctx ends.
func (db *DB) watchRoom(ctx context.Context) {
	tick := time.NewTicker(roomInterval)
	defer tick.Stop()
	lacked := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		lack := db.room.check() != nil
		switch {
		case lack && !lacked:
			db.mapChunks()
		case !lack && db.room.has(db.room.least):
			db.room.reserve(db.room.least)
		}
		lacked = lack
		if !lack && db.broken() != nil {
			db.reopen()
		}
		db.tell()
	}
}

// tell sets the metric.
func (db *DB) tell() {
	if _, err := db.ReadOnly(); err != nil {
		readOnlyGauge.Set(1)
	} else {
		readOnlyGauge.Set(0)
	}
}

// mapChunks writes the chunks that are full while it can be afforded: the
// library does so every minute and panics when it cannot. While nothing is
// appended there are no more.
func (db *DB) mapChunks() {
	had := db.room.reserved()
	if err := db.room.release(); err != nil {
		db.log.Error("give up the reserve", "err", err)
	}
	if err := db.inner.ForceHeadMMap(); err != nil {
		db.log.Error("map chunks before the disk is full", "err", err)
	}
	db.room.reserve(had)
}

// broken returns why the store must be opened anew before it takes samples.
func (db *DB) broken() error {
	if err := db.inner.faults.failed(); err != nil {
		return err
	}
	return db.logs.full()
}

// reopen closes the library's store and opens it again from its log, which
// holds all that was acknowledged, and nothing else.
func (db *DB) reopen() {
	why := db.broken()
	if !db.inner.drain() {
		db.log.Warn("history is in use and cannot be reopened yet")
		return
	}
	db.log.Info("history is reopened from its log", "after", why)
	if err := db.inner.Close(); err != nil {
		db.log.Warn("close history after its disk was full", "err", err)
	}
	cur, err := db.reread()
	if err != nil {
		// The store stays closed to all until the next look.
		db.log.Error("reopen history after its disk was full", "err", err)
		return
	}
	db.inner.faults.forget()
	db.inner.resume(cur)
	if err := db.logs.sync(); err != nil {
		db.log.Error("sync history after its disk was full", "err", err)
		return
	}
	db.log.Info("history takes samples again")
}

func (db *DB) reread() (*tsdb.DB, error) {
	if err := db.logs.startOver(); err != nil {
		return nil, err
	}
	db.owners.replay()
	cur, found, err := openStore(db.options, db.parts, db.log)
	if err != nil {
		return nil, err
	}
	db.owners.arm(cur.Head().NumSeries())
	db.mu.Lock()
	defer db.mu.Unlock()
	db.aside = append(db.aside, found.aside...)
	db.lost = append(db.lost, found.lost...)
	return cur, nil
}

// startOver forgets what is on disk. What a failed sync may have left in
// memory only is written once more, to files of its own: the kernel holds a
// page that it could not write for clean.
func (l *logSync) startOver() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.folders {
		segments, err := segmentsFrom(f.path, max(0, f.segment))
		if err != nil {
			return err
		}
		if f.file != nil {
			err = f.file.Close()
		}
		f.segment, f.size, f.file = -1, 0, nil
		for _, n := range segments {
			data, readErr := os.ReadFile(segmentPath(f.path, n))
			if err = errors.Join(err, readErr); err == nil {
				err = writeDurably(segmentPath(f.path, n), data)
			}
		}
		if err != nil {
			return fmt.Errorf("rewrite the log: %w", err)
		}
	}
	// A repair may put an end to the file of sizes.
	if l.notes != nil {
		if err := l.notes.Close(); err != nil {
			return fmt.Errorf("rewrite the log: %w", err)
		}
		l.notes = nil
	}
	l.sizes = map[string]int64{}
	l.lack.Store(nil)
	return nil
}
