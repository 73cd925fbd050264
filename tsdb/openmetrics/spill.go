package openmetrics

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// buffered is how much of the spill waits in memory to be written.
const buffered = 32 << 20

// entry is a sample on its way to a block, and where it was read.
type entry struct {
	series uint64
	t      int64
	v      float64
	file   uint64
	line   uint64
}

// spill keeps the samples of each block's time in a file of its own.
type spill struct {
	dir     string
	width   int64 // of a block in ms
	windows map[int64]*window
	waiting int
	newest  []int64 // by series; what comes earlier is out of order
}

type window struct {
	start      int64
	buf        bytes.Buffer
	outOfOrder bool
}

func newSpill(dir string, width int64) *spill {
	return &spill{dir: dir, width: width, windows: map[int64]*window{}}
}

func (s *spill) path(w *window) string {
	return filepath.Join(s.dir, "samples-"+strconv.FormatInt(w.start, 10))
}

func (s *spill) add(e entry) error {
	start := e.t - ((e.t%s.width)+s.width)%s.width
	w := s.windows[start]
	if w == nil {
		w = &window{start: start}
		s.windows[start] = w
	}
	if int(e.series) == len(s.newest) {
		s.newest = append(s.newest, math.MinInt64)
	}
	if e.t <= s.newest[e.series] {
		w.outOfOrder = true
	}
	s.newest[e.series] = max(s.newest[e.series], e.t)

	before := w.buf.Len()
	b := w.buf.AvailableBuffer()
	b = binary.AppendUvarint(b, e.series)
	b = binary.AppendVarint(b, e.t)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(e.v))
	b = binary.AppendUvarint(b, e.file)
	b = binary.AppendUvarint(b, e.line)
	w.buf.Write(b)
	s.waiting += w.buf.Len() - before
	if s.waiting < buffered {
		return nil
	}
	return s.flush()
}

func (s *spill) flush() error {
	for _, w := range s.windows {
		if err := s.flushWindow(w); err != nil {
			return err
		}
	}
	s.waiting = 0
	return nil
}

func (s *spill) flushWindow(w *window) error {
	if w.buf.Len() == 0 {
		return nil
	}
	f, err := os.OpenFile(s.path(w), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = w.buf.WriteTo(f)
	w.buf = bytes.Buffer{}
	return errors.Join(err, f.Close())
}

// sorted returns the windows in the order of time.
func (s *spill) sorted() []*window {
	all := make([]*window, 0, len(s.windows))
	for _, w := range s.windows {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b *window) int { return cmp.Compare(a.start, b.start) })
	return all
}

// each calls f with a window's samples, those of a series in the order of
// time, and forgets them. Only a window that was read out of order is held in
// memory for it.
func (s *spill) each(w *window, f func(entry) error) error {
	file, err := os.Open(s.path(w))
	if err != nil {
		return err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 256<<10)
	var held []entry
	for {
		e, err := readEntry(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file.Name(), err)
		}
		if w.outOfOrder {
			held = append(held, e)
		} else if err := f(e); err != nil {
			return err
		}
	}
	slices.SortStableFunc(held, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.series, b.series), cmp.Compare(a.t, b.t))
	})
	for _, e := range held {
		if err := f(e); err != nil {
			return err
		}
	}
	return os.Remove(s.path(w))
}

func readEntry(r *bufio.Reader) (e entry, err error) {
	if e.series, err = binary.ReadUvarint(r); err != nil {
		return e, err
	}
	var bits [8]byte
	e.t, err = binary.ReadVarint(r)
	_, errV := io.ReadFull(r, bits[:])
	var errFile, errLine error
	e.file, errFile = binary.ReadUvarint(r)
	e.line, errLine = binary.ReadUvarint(r)
	e.v = math.Float64frombits(binary.LittleEndian.Uint64(bits[:]))
	if err = errors.Join(err, errV, errFile, errLine); err != nil {
		return e, fmt.Errorf("cut short: %v", err)
	}
	return e, nil
}
