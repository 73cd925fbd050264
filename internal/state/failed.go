package state

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// ErrFailed is the answer to every write after a commit that failed. It lasts
// until the database is opened again.
var ErrFailed = errors.New("an earlier write failed: nothing more is written until a restart")

// fail ends all writing after a commit that failed. Badger may have put its
// entries where they are read although nobody was told that they are written,
// while revisions and the tails of logs did not move: the next write would give
// the same numbers once more, over what stands there.
func (db *DB) fail(cause error) error {
	if errors.Is(cause, badger.ErrTxnTooBig) {
		return cause // found before anything was written
	}
	db.log.Error("commit failed: nothing more is written until a restart", "err", cause)
	db.mu.Lock()
	defer db.mu.Unlock()
	db.failed = fmt.Errorf("%w: %w", ErrFailed, cause)
	return cause
}

// failure is why nothing is written any more, nil while all is well.
func (db *DB) failure() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.failed
}
