// Package sshfolder is a backup's store in a folder of another host, by SFTP.
// Nothing there keeps two who write to the same folder apart.
package sshfolder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"nocturne/internal/backup"
)

const (
	partSuffix = ".part"
	// A host that gives no sign of life for aliveWait is taken for dead: SFTP has
	// no deadlines of its own.
	aliveEvery = 15 * time.Second
	aliveWait  = 45 * time.Second
	// writesAtOnce are sent before the first is answered; each is 32 KiB.
	writesAtOnce = 64
)

// Store is a folder of another host.
type Store struct {
	ssh   *ssh.Client
	sftp  *sftp.Client
	root  string
	label string
	end   chan struct{}
	once  sync.Once
	alive sync.WaitGroup
}

// Open starts SFTP on a connection that is logged in, which is the store's from
// then on. label is the place for people. The folder is made when absent if
// create says so.
func Open(ctx context.Context, c *ssh.Client, root, label string, create bool) (*Store, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	f, err := sftp.NewClient(c, sftp.UseConcurrentWrites(true), sftp.UseConcurrentReads(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start SFTP at %s: %w", label, err), c.Close())
	}
	s := &Store{ssh: c, sftp: f, root: root, label: label, end: make(chan struct{})}
	s.alive.Go(s.watch)
	if create {
		err = f.MkdirAll(root)
	}
	if err == nil {
		_, err = f.ReadDir(root)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the backup's folder at %s: %w", label, err), s.Close())
	}
	return s, nil
}

// watch ends the connection of a host that no longer answers.
func (s *Store) watch() {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.end:
			return
		case <-tick.C:
		}
		dead := time.AfterFunc(aliveWait, func() { s.ssh.Close() })
		_, _, err := s.ssh.SendRequest("keepalive@openssh.com", true, nil)
		dead.Stop()
		if err != nil {
			return // it is closed, and whoever uses it is told
		}
	}
}

// Close ends the connection.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		close(s.end)
		err = s.sftp.Close()
		if cerr := s.ssh.Close(); cerr != nil && !errors.Is(cerr, io.EOF) && !errors.Is(cerr, os.ErrClosed) {
			err = errors.Join(err, cerr)
		}
		s.alive.Wait()
	})
	if errors.Is(err, io.EOF) {
		return nil // the other side was first
	}
	return err
}

func (s *Store) String() string { return s.label }

func (s *Store) path(name string) string { return path.Join(s.root, name) }

// until lets ctx end what is under way, and the connection with it.
func (s *Store) until(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.ssh.Close() })
}

// Put writes beside the name, syncs where the server can, and renames.
func (s *Store) Put(ctx context.Context, name string, size int64, r io.Reader) (err error) {
	defer s.until(ctx)()
	to := s.path(name)
	if err := s.sftp.MkdirAll(path.Dir(to)); err != nil {
		return fmt.Errorf("make folder %s: %w", path.Dir(to), err)
	}
	part := to + partSuffix
	f, err := s.sftp.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(s.sftp.Remove(part)))
		}
	}()
	n, err := f.ReadFromWithConcurrency(r, writesAtOnce)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came instead of %d", n, size)
	}
	if _, can := s.sftp.HasExtension("fsync@openssh.com"); err == nil && can {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.rename(part, to)
}

// rename replaces what is there, which plain SFTP cannot.
func (s *Store) rename(from, to string) error {
	if _, can := s.sftp.HasExtension("posix-rename@openssh.com"); can {
		return s.sftp.PosixRename(from, to)
	}
	if err := ignoreMissing(s.sftp.Remove(to)); err != nil {
		return err
	}
	return s.sftp.Rename(from, to)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Get opens a file.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	defer s.until(ctx)()
	f, err := s.sftp.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	return &reading{f, s.until(ctx)}, nil
}

// reading ends with the context that it was opened with.
type reading struct {
	*sftp.File
	stop func() bool
}

func (r *reading) Close() error {
	r.stop()
	return r.File.Close()
}

// List walks a folder, what is half written included.
func (s *Store) List(ctx context.Context, folder string) ([]backup.Object, error) {
	defer s.until(ctx)()
	return s.list(ctx, folder, nil)
}

func (s *Store) list(ctx context.Context, folder string, all []backup.Object) ([]backup.Object, error) {
	entries, err := s.sftp.ReadDirContext(ctx, s.path(folder))
	if err != nil {
		return all, ignoreMissing(err)
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		if !e.IsDir() {
			all = append(all, backup.Object{Name: name, Size: e.Size()})
			continue
		}
		if all, err = s.list(ctx, name, all); err != nil {
			return all, err
		}
	}
	return all, nil
}

// Delete removes a file, and the folders that it leaves empty.
func (s *Store) Delete(ctx context.Context, name string) error {
	defer s.until(ctx)()
	if err := ignoreMissing(s.sftp.Remove(s.path(name))); err != nil {
		return err
	}
	for d := path.Dir(name); d != "." && d != "/"; d = path.Dir(d) {
		if s.sftp.RemoveDirectory(s.path(d)) != nil { // not empty, or gone
			break
		}
	}
	return nil
}
