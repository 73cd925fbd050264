package main

import (
	"io"
	"log/slog"
	"sync"
)

// recentBytes bounds the lines of the log that are kept for a support bundle.
const recentBytes = 512 << 10

// recent keeps the newest lines of the log. A handler of slog writes each
// record at once.
type recent struct {
	mu    sync.Mutex // guards below
	lines [][]byte
	bytes int
	lost  int // lines that made room
}

// beside returns a log that goes where log goes, and is kept from level info
// on, whatever is written elsewhere.
func (r *recent) beside(log *slog.Logger) *slog.Logger {
	return slog.New(slog.NewMultiHandler(log.Handler(), slog.NewTextHandler(r, nil)))
}

func (r *recent) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := append([]byte(nil), line[:min(len(line), recentBytes)]...)
	r.lines, r.bytes = append(r.lines, kept), r.bytes+len(kept)
	for r.bytes > recentBytes {
		r.bytes -= len(r.lines[0])
		r.lines, r.lost = r.lines[1:], r.lost+1
	}
	return len(line), nil
}

// copyTo writes what is kept.
func (r *recent) copyTo(w io.Writer) error {
	r.mu.Lock()
	lines := append([][]byte(nil), r.lines...)
	r.mu.Unlock()
	for _, l := range lines { // a line never changes
		if _, err := w.Write(l); err != nil {
			return err
		}
	}
	return nil
}
