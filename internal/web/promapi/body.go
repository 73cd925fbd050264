package promapi

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

const (
	// worthCompressing is the size of a body, in bytes, from which gzip pays: a
	// smaller one fits into a packet as it is.
	worthCompressing = 1400
	// pieceBytes is from which length on what was made of a body is sent on
	// while more is made.
	pieceBytes = 64 << 10
)

var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("promapi: " + err.Error()) // the level is a constant
	}
	return w
}}

// pack writes what fill writes to w, compressed.
func pack(w io.Writer, fill func(io.Writer) error) error {
	c := compressors.Get().(*gzip.Writer)
	defer compressors.Put(c)
	c.Reset(w)
	if err := fill(c); err != nil {
		return err
	}
	return c.Close()
}

// writeBody sends the body that encode makes, compressed where the client takes
// that. Wherever the body may be cut encode gives what it has to cut and goes
// on with what that returns. A body that was never cut has its length told.
func writeBody(w http.ResponseWriter, r *http.Request, status int, encode func(cut func([]byte) []byte) []byte) error {
	w.Header().Add("Vary", "Accept-Encoding")
	packed := takesGzip(r.Header.Get("Accept-Encoding"))
	var pieces chan []byte // to the goroutine that sends them; nil for a short body
	spare, sent := make(chan []byte, 3), make(chan error, 1)
	cut := func(b []byte) []byte {
		if len(b) < pieceBytes {
			return b
		}
		if pieces == nil {
			pieces = make(chan []byte)
			spare <- nil
			go func() { sent <- writePieces(w, status, packed, pieces, spare) }()
		}
		pieces <- b
		return (<-spare)[:0]
	}
	last, whole := []byte(nil), false
	defer func() {
		if pieces != nil && !whole { // encode panicked
			close(pieces)
			<-sent
		}
	}()
	last, whole = encode(cut), true
	if pieces == nil {
		return writeWhole(w, status, packed, last)
	}
	pieces <- last
	close(pieces)
	return <-sent
}

func writeWhole(w http.ResponseWriter, status int, packed bool, body []byte) error {
	h := w.Header()
	if packed && len(body) >= worthCompressing {
		var buf bytes.Buffer
		err := pack(&buf, func(to io.Writer) error {
			_, err := to.Write(body)
			return err
		})
		if err != nil {
			return err
		}
		h.Set("Content-Encoding", "gzip")
		body = buf.Bytes()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// writePieces sends pieces until there are no more, and hands each back. What
// comes after an error is dropped.
func writePieces(w http.ResponseWriter, status int, packed bool, pieces <-chan []byte, spare chan<- []byte) error {
	send := func(to io.Writer) error {
		var err error
		for b := range pieces {
			if err == nil {
				_, err = to.Write(b)
			}
			spare <- b
		}
		return err
	}
	if packed {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		return pack(w, send)
	}
	w.WriteHeader(status)
	return send(w)
}

// takesGzip reads an Accept-Encoding field (RFC 9110, section 12.5.3).
func takesGzip(accepted string) bool {
	for coding := range strings.SplitSeq(accepted, ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, has := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		v, err := strconv.ParseFloat(q, 64)
		return !has || err == nil && v > 0
	}
	return false
}
