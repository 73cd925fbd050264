package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"nocturne/tsdb/folder"
)

// RestoreOptions say what is restored and where to.
type RestoreOptions struct {
	From string    // a backup's folder
	At   time.Time // the newest generation not after it; zero: the newest
	Into string    // the history's folder: absent or empty
	// Progress is told the bytes done and those in all, each byte counted
	// twice: when it is verified, and when it is copied. It may be nil.
	Progress func(done, total int64)
}

// Restore verifies every file of a generation and then writes it to an empty
// folder, which appears whole or not at all. The error names every file that
// is missing or damaged.
func Restore(ctx context.Context, o RestoreOptions) (Generation, error) {
	g, err := restore(ctx, o)
	if err != nil {
		return Generation{}, fmt.Errorf("restore %s from %s: %w", o.Into, o.From, err)
	}
	return g, nil
}

func restore(ctx context.Context, o RestoreOptions) (_ Generation, err error) {
	if err := mustBeEmpty(o.Into); err != nil {
		return Generation{}, err
	}
	lock, err := lockBackup(o.From)
	if err != nil {
		return Generation{}, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	g, err := choose(o.From, o.At)
	if err != nil {
		return Generation{}, err
	}
	files := g.manifest.Files
	m := newMeter(o.Progress, files)
	m.total *= 2
	var faults []error
	for _, f := range files {
		if err := verify(ctx, o.From, f, m.step); err != nil {
			faults = append(faults, err)
		}
		if err := ctx.Err(); err != nil {
			return Generation{}, err
		}
	}
	if err := errors.Join(faults...); err != nil {
		return Generation{}, fmt.Errorf("generation %s, nothing was restored: %w", g.Name, err)
	}
	return g, fill(ctx, o, files, m.step)
}

func mustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		return fmt.Errorf("the folder is not empty: it holds %s; move it away first", entries[0].Name())
	}
	return err
}

func choose(dir string, at time.Time) (Generation, error) {
	all, err := List(dir)
	if err != nil {
		return Generation{}, err
	}
	var faults []error
	for i := len(all) - 1; i >= 0; i-- {
		g := all[i]
		switch {
		case !at.IsZero() && g.Time.After(at):
		case g.manifest != nil:
			return g, nil
		default:
			faults = append(faults, fmt.Errorf("generation %s: %s", g.Name, g.Fault))
		}
	}
	if at.IsZero() {
		return Generation{}, errors.Join(append([]error{errors.New("there is no whole generation")}, faults...)...)
	}
	return Generation{}, errors.Join(append([]error{fmt.Errorf("there is no whole generation of %s or before", at.UTC().Format(time.RFC3339))}, faults...)...)
}

func verify(ctx context.Context, dir string, f file, step func(int64)) error {
	path := filepath.Join(dir, filepath.FromSlash(f.Stored))
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.Size() != f.Size {
		return fmt.Errorf("%s is damaged: %d bytes instead of %d", path, st.Size(), f.Size)
	}
	sum, err := sumFile(ctx, path, step)
	if err == nil && sum != f.SHA256 {
		err = fmt.Errorf("%s is damaged: its checksum differs from the manifest's", path)
	}
	return err
}

// fill copies the files beside the folder and renames them into its place.
func fill(ctx context.Context, o RestoreOptions, files []file, step func(int64)) (err error) {
	into := filepath.Clean(o.Into)
	if err := os.MkdirAll(filepath.Dir(into), 0o777); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(into), filepath.Base(into)+".restoring-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		sum, err := copySynced(ctx, filepath.Join(o.From, filepath.FromSlash(f.Stored)), filepath.Join(tmp, filepath.FromSlash(f.Name)), step)
		if err == nil && sum != f.SHA256 {
			err = fmt.Errorf("%s changed while it was copied", f.Stored)
		}
		if err != nil {
			return err
		}
	}
	if err := syncFolders(tmp); err != nil {
		return err
	}
	// An empty folder in its place has to go; one that was filled meanwhile stays.
	if err := os.Remove(into); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(tmp, into); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(into))
}
