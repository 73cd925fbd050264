package listen

import (
	"net/http"
	"time"
)

// piece is as much of an answer as has one deadline.
const piece = 64 << 10

// paced gives each piece of an answer a time of its own to be taken, so that an
// answer may be long and its making slow, but not its reader.
func paced(next http.Handler, within time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &pacedWriter{ResponseWriter: w, rc: http.NewResponseController(w), within: within}
		// What net/http still holds is written after the handler.
		defer p.begin()
		next.ServeHTTP(p, r)
	})
}

type pacedWriter struct {
	http.ResponseWriter
	rc     *http.ResponseController
	within time.Duration
	own    bool // the handler sets deadlines itself
}

// Unwrap lets http.ResponseController find what is not here.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// SetWriteDeadline leaves the pace to the handler.
func (w *pacedWriter) SetWriteDeadline(t time.Time) error {
	w.own = true
	return w.rc.SetWriteDeadline(t)
}

// begin and end stand around each write. A deadline of HTTP/2 ends the stream
// whether or not anything is being written, so none stays.
func (w *pacedWriter) begin() { _ = w.rc.SetWriteDeadline(time.Now().Add(w.within)) }

func (w *pacedWriter) end() { _ = w.rc.SetWriteDeadline(time.Time{}) }

func (w *pacedWriter) Write(p []byte) (n int, err error) {
	if w.own {
		return w.ResponseWriter.Write(p)
	}
	for {
		w.begin()
		k, err := w.ResponseWriter.Write(p[n:min(len(p), n+piece)])
		w.end()
		if n += k; err != nil || n == len(p) {
			return n, err
		}
	}
}

// FlushError is what http.ResponseController calls to flush.
func (w *pacedWriter) FlushError() error {
	if !w.own {
		w.begin()
		defer w.end()
	}
	return w.rc.Flush()
}

// Flush is for who asks for an http.Flusher.
func (w *pacedWriter) Flush() { _ = w.FlushError() }
