package tsdb

import (
	"errors"
	"time"
)

// ReadOnly returns since when and why nothing is appended; nil while
// everything is. It is seen within a second, also by a store that is not
// written to.
func (db *DB) ReadOnly() (since time.Time, err error) {
	if err = db.readOnly(); err == nil {
		db.readOnlyAt.Store(0)
		return time.Time{}, nil
	}
	now := time.Now().UnixMilli()
	if !db.readOnlyAt.CompareAndSwap(0, now) {
		if at := db.readOnlyAt.Load(); at != 0 {
			now = at
		}
	}
	return time.UnixMilli(now).UTC(), err
}

// Limits returns the bounds of what appending may make the store hold,
// defaults filled in.
func (db *DB) Limits() Limits { return *db.limits.Load() }

// SetLimits bounds what is appended from now on. Series that are there stay.
func (db *DB) SetLimits(l Limits) error {
	if l.negative() {
		return errors.New("limits of history: one is negative")
	}
	db.limits.Store(new(l.withDefaults()))
	return nil
}

// Room returns how many bytes the disk has free, and below how many the store
// becomes read-only.
func (db *DB) Room() (free, least int64, err error) {
	free, err = db.room.free()
	return free, db.room.least, err
}
