package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// Store is where generations lie. Names are slash-separated.
type Store interface {
	// Put stores size bytes under a name. When it returns they are durable; until
	// then the name holds what it held before, or nothing.
	Put(ctx context.Context, name string, size int64, r io.Reader) error
	// Get reads what lies under a name, as the medium has it; fs.ErrNotExist where
	// there is nothing.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns what lies under a folder, ordered by name. A folder that is
	// not there is empty; a store that is not there is an error.
	List(ctx context.Context, folder string) ([]Object, error)
	// Delete removes a name, if it is there.
	Delete(ctx context.Context, name string) error
	Close() error
	// String is the place for people, without a secret.
	String() string
}

// Object is something that a store holds.
type Object struct {
	Name string
	Size int64
}

// File is one file of a generation.
type File struct {
	Name     string    `json:"name"`   // in the data folder, slash-separated
	Stored   string    `json:"stored"` // at the store
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256"`
	Modified time.Time `json:"modified"` // of the original
}

// carrier brings files to a store and reads each back, while the next is on its
// way: a disk or a line that does both at once is kept busy.
type carrier struct {
	store  Store
	meter  *meter
	checks errgroup.Group // who uses a carrier waits for them
	copied int
	bytes  int64
}

// checksAtOnce bounds how many files are read back while others are stored.
const checksAtOnce = 2

// put stores a local file and fills in its size and checksum. What the store
// then has is read and compared in one of the checks.
func (c *carrier) put(ctx context.Context, f *File, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	h := sha256.New()
	f.Size = st.Size()
	if err := c.store.Put(ctx, f.Stored, f.Size, io.TeeReader(&stopping{ctx, in, c.meter}, h)); err != nil {
		return fmt.Errorf("store %s: %w", f.Stored, err)
	}
	f.SHA256 = hex.EncodeToString(h.Sum(nil))
	want := *f
	c.checks.Go(func() error { return check(ctx, c.store, want) })
	c.copied++
	c.bytes += f.Size
	return nil
}

func check(ctx context.Context, s Store, want File) error {
	sum, n, err := sumStored(ctx, s, want.Stored)
	if err != nil {
		return err
	}
	if sum != want.SHA256 || n != want.Size {
		return fmt.Errorf("%s reads back differently: the store or the way to it is faulty", want.Stored)
	}
	return nil
}

// sumStored reads what a store has under a name.
func sumStored(ctx context.Context, s Store, name string) (sum string, size int64, err error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return "", 0, fmt.Errorf("read %s: %w", name, err)
	}
	h := sha256.New()
	size, err = io.Copy(h, &stopping{ctx, r, nil})
	if err = errors.Join(err, r.Close()); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// sumLocal is the checksum of a local file.
func sumLocal(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &stopping{ctx, f, nil}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// stopping is a reader that ends with its context and may count.
type stopping struct {
	ctx   context.Context
	r     io.Reader
	meter *meter
}

func (s *stopping) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.meter.step(int64(n))
	return n, err
}

// meter tells how many bytes of all are done. A nil one tells nobody.
type meter struct {
	tell        func(done, total int64)
	done, total int64
}

func (m *meter) step(n int64) {
	if m == nil {
		return
	}
	m.done += n
	if m.tell != nil {
		m.tell(m.done, m.total)
	}
}
