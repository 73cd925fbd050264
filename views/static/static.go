// Package static embeds the style sheets, scripts, type and icons, and serves
// them under names that hold a hash of their content, so that a browser keeps
// them for ever and never has an old one.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed css js vendor icons
var files embed.FS

// Prefix is the path under which Handler serves.
const Prefix = "/static/"

type asset struct {
	name   string // served name, with hash
	kind   string // content type
	plain  []byte
	packed []byte // gzip, nil where it does not pay
}

var assets = sync.OnceValue(func() map[string]*asset {
	all := map[string]*asset{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		all[name] = newAsset(name, b)
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("read embedded assets: %v", err))
	}
	return all
})

func newAsset(name string, b []byte) *asset {
	b = linked(name, b)
	sum := sha256.Sum256(b)
	ext := path.Ext(name)
	a := &asset{
		name:  strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext,
		kind:  contentType(ext),
		plain: b,
	}
	if ext == ".woff2" {
		return a
	}
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression) // the level is a valid constant
	if _, err := w.Write(b); err == nil && w.Close() == nil && z.Len() < len(b)*9/10 {
		a.packed = z.Bytes()
	}
	return a
}

// URL is the path under which the file name, such as css/app.css, is served.
// An unknown name is a fault of ours and panics.
func URL(name string) string {
	a, ok := assets()[name]
	if !ok {
		panic("static: no file " + name)
	}
	return Prefix + a.name
}

// Handler serves Prefix. Only the hashed names exist.
func Handler() http.Handler {
	served := map[string]*asset{}
	for _, a := range assets() {
		served[a.name] = a
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := served[strings.TrimPrefix(r.URL.Path, Prefix)]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Content-Type", a.kind)
		h.Set("X-Content-Type-Options", "nosniff")
		body := a.plain
		if a.packed != nil {
			h.Set("Vary", "Accept-Encoding")
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				h.Set("Content-Encoding", "gzip")
				body = a.packed
			}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
}

func contentType(ext string) string {
	switch ext {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".woff2":
		return "font/woff2"
	case ".json":
		return "application/json"
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "text/plain; charset=utf-8"
}
