package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"nocturne/internal/state"
	"nocturne/tsdb/folder"
)

// stagedName is the earlier state on its way back.
const stagedName = "state.undo"

// Plan is what taking an upgrade back would do.
type Plan struct {
	Previous        // what comes back
	From     int    // the format there is
	Program  string // that wrote it
	Aside    string // the folder that the state of now goes to, in the data folder
}

func (p Plan) String() string {
	return fmt.Sprintf("state goes back from format %d (nocturne %s) to format %d, to what it was at %s, before the upgrade; "+
		"what was recorded since goes to %s: jobs, acknowledgements and changes since are not known any more. "+
		"History stays as it is. Credentials then open with the master key of that time: if it was rotated since, that key has to be put back. Start %s afterwards",
		p.From, p.Program, p.Format, p.At.Format(time.RFC3339), p.Aside, p.Previous.program())
}

// PlanUndo says what Undo would do.
func PlanUndo(dir string) (Plan, error) {
	m, ok, err := Read(dir)
	switch {
	case err != nil:
		return Plan{}, err
	case !ok:
		return Plan{}, fmt.Errorf("take back the upgrade of %s: there is no data", dir)
	case m.Newest() > Current:
		return Plan{}, &NewerError{dir, m}
	case m.Previous == nil:
		return Plan{}, fmt.Errorf("take back the upgrade of %s: it was never upgraded; its format is %d", dir, m.Format)
	}
	p := Plan{Previous: *m.Previous, From: m.Newest(), Program: m.Program, Aside: m.Undo}
	if p.Aside == "" {
		p.Aside = fmt.Sprintf("state.format-%d.%s", p.From, time.Now().UTC().Format("20060102T150405Z"))
	}
	return p, nil
}

// Undo puts state back as it was before the last upgrade. The caller has locked
// the folder. Killed, it goes on where it is called again.
func Undo(ctx context.Context, dir string) (Plan, error) {
	p, err := PlanUndo(dir)
	if err == nil {
		err = undo(ctx, dir, p)
	}
	if err != nil {
		return p, fmt.Errorf("take back the upgrade of %s: %w", dir, err)
	}
	return p, nil
}

func undo(ctx context.Context, dir string, p Plan) error {
	m, _, err := Read(dir)
	if err != nil {
		return err
	}
	current, staged, aside := filepath.Join(dir, stateName), filepath.Join(dir, stagedName), filepath.Join(dir, p.Aside)
	if m.Undo == "" {
		if err := stage(ctx, filepath.Join(dir, p.Kept), staged); err != nil {
			return err
		}
		m.Undo = p.Aside
		if err := write(dir, m); err != nil {
			return err
		}
	}
	// From here on what is there says how far it came.
	if _, err := os.Stat(aside); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(current, aside); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(staged); err == nil {
		if err := os.Rename(staged, current); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := folder.Sync(dir); err != nil {
		return err
	}
	return write(dir, Mark{Format: p.Format, Program: p.Previous.Program, Since: now()})
}

// hasRoom refuses where a database made of the export may not fit: the database
// writes into mapped files, and a full disk would end the process.
func hasRoom(kept string) error {
	st, err := os.Stat(kept)
	if err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(kept), &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", filepath.Dir(kept), err)
	}
	// An export is compressed, to a tenth or so.
	free, need := int64(fs.Bavail)*fs.Bsize, 20*st.Size()+256<<20
	if free < need {
		return fmt.Errorf("%s has %d MB free, %d MB are needed to make state anew of %s", filepath.Dir(kept), free>>20, need>>20, filepath.Base(kept))
	}
	return nil
}

// stage makes a database of the kept export, whose checksum is its last part.
func stage(ctx context.Context, kept, staged string) (err error) {
	if err := os.RemoveAll(staged); err != nil {
		return err
	}
	if err := hasRoom(kept); err != nil {
		return err
	}
	f, err := os.Open(kept)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.RemoveAll(staged))
		}
	}()
	if err := state.Import(ctx, staged, state.Part{Name: kept, Reader: f}); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(staged))
}
