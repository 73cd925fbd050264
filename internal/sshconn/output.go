package sshconn

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// output hands a command's two streams on, one write at a time, up to a bound,
// and nothing once it is closed. It never refuses bytes: a stream not read
// would stop the command.
type output struct {
	last atomic.Int64 // when bytes came, as nanoseconds since start
	from time.Time

	mu     sync.Mutex // guards below
	left   int64
	limit  int64
	cut    bool
	closed bool
	err    error // of the first write that failed
}

func newOutput(limit int64) *output {
	return &output{from: time.Now(), left: limit, limit: limit}
}

// quietFor is how long no bytes came.
func (o *output) quietFor() time.Duration { return time.Since(o.from) - time.Duration(o.last.Load()) }

// close stops all writing and returns the first error of a writer.
func (o *output) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.err
}

func (o *output) stream(w io.Writer) io.Writer { return &stream{o, w} }

type stream struct {
	o *output
	w io.Writer
}

func (s *stream) Write(b []byte) (int, error) {
	o := s.o
	o.last.Store(int64(time.Since(o.from)))
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.w == nil || o.closed || o.cut || o.err != nil {
		return len(b), nil
	}
	part := b[:min(int64(len(b)), o.left)]
	o.left -= int64(len(part))
	_, o.err = s.w.Write(part)
	if len(part) < len(b) {
		o.cut = true
		_, _ = fmt.Fprintf(s.w, "\n[output cut after %d bytes]\n", o.limit)
	}
	return len(b), nil
}
