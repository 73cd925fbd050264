package promapi

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// worthCompressing is the size of a body, in bytes, from which gzip pays: a
// smaller one fits into a packet as it is.
const worthCompressing = 1400

var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("promapi: " + err.Error()) // the level is a constant
	}
	return w
}}

// writeBody sends a body, compressed where the client takes that.
func writeBody(w http.ResponseWriter, r *http.Request, status int, body []byte) error {
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if len(body) >= worthCompressing && takesGzip(r.Header.Get("Accept-Encoding")) {
		var packed bytes.Buffer
		c := compressors.Get().(*gzip.Writer)
		defer compressors.Put(c)
		c.Reset(&packed)
		if _, err := c.Write(body); err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
		h.Set("Content-Encoding", "gzip")
		body = packed.Bytes()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
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
