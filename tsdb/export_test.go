package tsdb

import (
	"context"
	"os"
)

// WatchSync calls f after each sync of a log file with what was in the file
// when the sync began.
func (db *DB) WatchSync(f func(path string, size int64)) {
	real := db.logs.fsync
	db.logs.fsync = func(file *os.File) error {
		st, err := file.Stat()
		if err != nil {
			return err
		}
		if err := real(file); err != nil {
			return err
		}
		f(file.Name(), st.Size())
		return nil
	}
}

// RollUp brings the tiers up to date, as Run does once there is enough to roll
// up.
func (db *DB) RollUp(ctx context.Context) error { return db.tiers.rollUp(ctx, 0) }
