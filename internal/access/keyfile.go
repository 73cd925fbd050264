package access

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"nocturne/internal/glob"
	"nocturne/internal/secret"
)

// maxKeyFile bounds what is read of a file that should hold one line.
const maxKeyFile = 4 << 10

// ReadPrivate reads a file with a secret in it: a regular one, of a line or
// two, which nobody but its owner may read, and whose owner is this user or
// root. Symbolic links are followed. One that is not there is fs.ErrNotExist.
func ReadPrivate(path string) (secret.Text, error) {
	text, st, err := readSmall(path)
	if err != nil {
		return "", err
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%w: the mode of %s is %#o, others may read it: make it 0600", ErrKeyExposed, path, mode)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%w: %s belongs to user %d, this is user %d: give it to the user that nocturne runs as", ErrKeyExposed, path, sys.Uid, os.Geteuid())
	}
	return text, nil
}

// readSmall reads a small regular file.
func readSmall(path string) (_ secret.Text, _ fs.FileInfo, err error) {
	// Without O_NONBLOCK the opening of a named pipe waits for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return "", nil, fmt.Errorf("%w: user %d may not read %s: give it to the user that nocturne runs as", ErrKeyDamaged, os.Geteuid(), path)
	}
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	if !st.Mode().IsRegular() {
		return "", nil, fmt.Errorf("%w: %s is not a file", ErrKeyDamaged, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrKeyDamaged, err)
	}
	if len(b) > maxKeyFile {
		return "", nil, fmt.Errorf("%w: %s holds more than %d bytes", ErrKeyDamaged, path, maxKeyFile)
	}
	return secret.Text(b), st, nil
}

// unfinished is the pattern of what writeKey leaves when it is killed.
func unfinished(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-new-*")
}

// writeKey writes a key file. It appears whole or not at all, and an existing
// one is never replaced.
func writeKey(path string, k key) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(unfinished(path))) // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, werr := f.WriteString(k.text().Reveal())
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// sweep removes what killed calls of writeKey left: it may be the very key.
func sweep(path string) error {
	left, err := filepath.Glob(unfinished(glob.Quote(path)))
	for _, f := range left {
		if rerr := os.Remove(f); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// replaceFile puts next in the place of path, whose file stays as old where
// that is not empty.
func replaceFile(path, next, old string) error {
	if old != "" {
		if err := os.Link(path, old); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// target is where a path leads over symbolic links: the file there is what is
// replaced, and what stands beside it is on its own disk.
func target(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// keyFilesOf names the files of a key or passphrase that are there: itself,
// the next, earlier ones that were kept, and what a kill left.
func keyFilesOf(path string) ([]string, error) {
	var found []string
	at := target(path)
	for _, pattern := range []string{
		glob.Quote(path), glob.Quote(at), glob.Quote(at) + nextSuffix, glob.Quote(at) + oldSuffix + "*",
		unfinished(glob.Quote(at)), unfinished(glob.Quote(at) + nextSuffix),
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("list key files %s: %w", path, err)
		}
		found = append(found, files...)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}
