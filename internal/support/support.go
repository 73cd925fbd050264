// Package support gathers what helps to find a fault into one gzipped tar.
// Nothing is put in that is known to hold a secret; as a second line, what is
// known to be one, or looks like one, is struck out of every file.
package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"time"
)

// largest bounds one file, in bytes.
const largest = 8 << 20

// Bundle is what was gathered.
type Bundle struct {
	root  string
	now   time.Time
	strip func([]byte) []byte
	bound int // of one file
	files []file
}

type file struct {
	name string
	data []byte
}

// New begins a bundle whose files stand in the folder root. secrets are struck
// out of what is added.
func New(root string, now time.Time, secrets []string) *Bundle {
	return &Bundle{root: root, now: now, strip: strippers(secrets), bound: largest}
}

// Add adds a file. Of one that cannot be made the reason is there instead: the
// rest is of use without it. One that is too large loses its end.
func (b *Bundle) Add(name string, write func(io.Writer) error) {
	short := &limited{left: b.bound}
	if err := write(short); err != nil && !errors.Is(err, errFull) {
		fmt.Fprintf(&short.b, "\n[not whole: %v]\n", err)
	}
	if short.full {
		fmt.Fprintf(&short.b, "\n[cut off after %d bytes]\n", b.bound)
	}
	b.files = append(b.files, file{name, b.strip(short.b.Bytes())})
}

// AddJSON adds a value.
func (b *Bundle) AddJSON(name string, v any) {
	b.Add(name, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	})
}

// Write writes the bundle.
func (b *Bundle) Write(w io.Writer) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range b.files {
		h := &tar.Header{Name: path.Join(b.root, f.name), Mode: 0o600, Size: int64(len(f.data)), ModTime: b.now, Typeflag: tar.TypeReg}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s into the bundle: %w", f.name, err)
		}
		if _, err := t.Write(f.data); err != nil {
			return fmt.Errorf("write %s into the bundle: %w", f.name, err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return fmt.Errorf("end the bundle: %w", err)
	}
	return nil
}

var errFull = errors.New("the file is too large for the bundle")

// limited takes so many bytes and no more.
type limited struct {
	b    bytes.Buffer
	left int
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		l.b.Write(p[:l.left])
		n := l.left
		l.left, l.full = 0, true
		return n, errFull
	}
	l.left -= len(p)
	return l.b.Write(p)
}
