// Package disk is a backup's store in a folder of this machine: a disk, or a
// file system of the network.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"nocturne/internal/backup"
)

// partSuffix is of what is being written.
const partSuffix = ".part"

// Store is a folder. Close lets others work on it.
type Store struct {
	dir  string
	lock *os.File
}

// Make opens a folder to write to, alone; it is made when absent.
func Make(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the backup's folder: %w", err)
	}
	return open(dir, unix.LOCK_EX)
}

// Open opens a folder that is there, to read, beside other readers.
func Open(dir string) (*Store, error) { return open(dir, unix.LOCK_SH) }

func open(dir string, how int) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open the backup's folder: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the backup's folder: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.IsDir() {
		err = errors.New("it is not a folder")
	}
	if err == nil {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another backup, restore or pruning works on it")
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the backup's folder %s: %w", dir, err), f.Close())
	}
	return &Store{dir, f}, nil
}

// Close lets the folder go.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) String() string { return s.dir }

func (s *Store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// Put writes beside the name, syncs, and renames.
func (s *Store) Put(_ context.Context, name string, size int64, r io.Reader) (err error) {
	to := s.path(name)
	if err := s.makeFolder(filepath.Dir(to)); err != nil {
		return err
	}
	part := to + partSuffix
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	n, err := io.Copy(f, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came instead of %d", n, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

// makeFolder makes a folder and its way from the root durable.
func (s *Store) makeFolder(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for d := filepath.Dir(dir); len(d) >= len(s.dir); d = filepath.Dir(d) {
		if err := syncFolder(d); err != nil {
			return err
		}
	}
	return nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get reads what the disk has: what the kernel remembers is dropped first.
func (s *Store) Get(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	// Advice alone; a file system that does not follow it is read from memory.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return f, nil
}

// List walks a folder, what is half written included.
func (s *Store) List(ctx context.Context, folder string) ([]backup.Object, error) {
	var all []backup.Object
	err := filepath.WalkDir(s.path(folder), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == s.path(folder) {
			return fs.SkipAll
		}
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.dir, path)
		all = append(all, backup.Object{Name: filepath.ToSlash(rel), Size: st.Size()})
		return err
	})
	return all, err
}

// Delete removes a file, and the folders that it leaves empty.
func (s *Store) Delete(_ context.Context, name string) error {
	path := s.path(name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	for ; len(dir) > len(s.dir); dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil { // not empty, or gone
			break
		}
	}
	if err := syncFolder(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
