package archive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb/fileutil"

	"nocturne/tsdb/folder"
)

const stagePrefix = "import-"

// Stage is a folder within a history where blocks are made ready. The history
// sees none of them before Admit.
type Stage struct {
	history, dir string
	lock         fileutil.Releaser
}

// NewStage makes a stage in a history's folder, which is made when absent, and
// removes those of processes that were killed.
func NewStage(history string) (*Stage, error) {
	if err := os.MkdirAll(history, 0o777); err != nil {
		return nil, fmt.Errorf("make ready for new blocks: %w", err)
	}
	if err := sweep(history, stagePrefix); err != nil {
		return nil, fmt.Errorf("remove what an earlier import left in %s: %w", history, err)
	}
	dir, err := os.MkdirTemp(history, stagePrefix)
	if err != nil {
		return nil, fmt.Errorf("make ready for new blocks: %w", err)
	}
	lock, _, err := fileutil.Flock(filepath.Join(dir, heldName))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make ready for new blocks in %s: %w", history, err), os.RemoveAll(dir))
	}
	return &Stage{history: history, dir: dir, lock: lock}, nil
}

// Dir is where blocks are to be made.
func (s *Stage) Dir() string { return s.dir }

// Admit moves all blocks of the stage into the history, each at once, and
// returns their names. A running server sees them when it next reloads its
// blocks, within a minute; one that does not run, at its next start. Killed
// between two blocks, the second is not there; admitting the same samples
// again does no harm.
func (s *Stage) Admit() ([]string, error) {
	names, err := folder.Blocks(s.dir)
	if err != nil {
		return nil, fmt.Errorf("admit blocks: %w", err)
	}
	if err := syncAll(s.dir); err != nil {
		return nil, fmt.Errorf("admit blocks: %w", err)
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(s.dir, name), filepath.Join(s.history, name)); err != nil {
			return nil, fmt.Errorf("admit block %s: %w", name, err)
		}
	}
	if err := folder.Sync(s.history); err != nil {
		return nil, fmt.Errorf("admit blocks: %w", err)
	}
	return names, nil
}

// Close removes the stage and what was not admitted.
func (s *Stage) Close() error {
	if err := errors.Join(s.lock.Release(), os.RemoveAll(s.dir)); err != nil {
		return fmt.Errorf("remove %s: %w", s.dir, err)
	}
	return nil
}

// syncAll syncs every file and folder under dir.
func syncAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return folder.Sync(path) // which syncs a file as well
	})
}
