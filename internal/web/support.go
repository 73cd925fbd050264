package web

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"nocturne/internal/access"
)

// NotReady is what /readyz names: nothing while the product does its work.
func (s *Server) NotReady() []string { return s.notReady(time.Now()) }

// addSupport adds the bundle for those who look for a fault.
func (a *apiMux) addSupport() {
	add(a, op{id: "make-support-bundle", method: "GET", path: "/support", tag: "support",
		summary: "What helps to find a fault, as a gzipped tar, without secrets", right: access.Administer}, a.s.apiSupport)
}

type bundle struct {
	ContentType        string `header:"Content-Type"`
	ContentDisposition string `header:"Content-Disposition"`
	Body               []byte
}

// apiSupport makes the bundle whole before the first byte goes out: one that
// was cut short would look whole.
func (s *Server) apiSupport(ctx context.Context, _ *struct{}) (*bundle, error) {
	if s.Support == nil {
		return nil, notFound{"support bundle of this server"}
	}
	var b bytes.Buffer
	if err := s.Support(ctx, &b); err != nil {
		return nil, err
	}
	if err := s.record(ctx, "support.bundle", "support", map[string]any{"bytes": b.Len()}); err != nil {
		return nil, err
	}
	name := "nocturne-support-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	return &bundle{"application/gzip", `attachment; filename="` + name + `"`, b.Bytes()}, nil
}

// supporter writes the support bundle.
type supporter func(ctx context.Context, w io.Writer) error

// longestProfile bounds how long a profile, which costs, is taken.
const longestProfile = time.Minute

// profile answers net/http/pprof's questions.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) error {
	if text := r.FormValue("seconds"); text != "" {
		if n, err := strconv.ParseFloat(text, 64); err != nil || !(n >= 0 && n <= longestProfile.Seconds()) {
			return invalid{"seconds must be a number from 0 to " + strconv.Itoa(int(longestProfile.Seconds()))}
		}
	}
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "cmdline":
		pprof.Cmdline(w, r)
	default:
		pprof.Index(w, r)
	}
	return nil
}
