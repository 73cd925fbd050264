package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestProfilesAreBounded asks for profiles as an administrator; others are
// TestEveryRouteAsksForItsRight's.
func TestProfilesAreBounded(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	for _, seconds := range []string{"61", "-1", "NaN", "Inf", "1e9", "x"} {
		for _, name := range []string{"profile", "trace", "heap"} {
			start := time.Now()
			if res := e.get("ann", "/debug/pprof/"+name+"?seconds="+seconds); res.Code != http.StatusBadRequest {
				t.Errorf("%s of %s seconds: %d after %v", name, seconds, res.Code, time.Since(start))
			}
		}
	}
	// A profile of the processor is gzipped, as pprof wants it.
	if res := e.get("ann", "/debug/pprof/profile?seconds=1"); res.Code != ok || !strings.HasPrefix(res.Body.String(), "\x1f\x8b") {
		t.Errorf("profile: %d, %d bytes", res.Code, res.Body.Len())
	}
	if res := e.get("ann", "/debug/pprof/goroutine?debug=1"); res.Code != ok || !strings.Contains(res.Body.String(), "TestProfilesAreBounded") {
		t.Errorf("goroutines: %d %.200s", res.Code, res.Body)
	}
	r := httptest.NewRequest(http.MethodPost, "/debug/pprof/symbol", nil)
	if res := e.do("ann", r); res.Code < 400 {
		t.Errorf("POST: %d", res.Code)
	}
}

// TestBundleIsWholeOrAnError takes a bundle, and one that breaks in the middle.
func TestBundleIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if status, text := r.ask(r.admin, "GET", apiRoot+"/support", nil); status != http.StatusNotFound {
		t.Errorf("without one: %d %s", status, text)
	}
	var broken error
	r.Support = func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "\x1f\x8bwhat was gathered")
		return errors.Join(err, broken)
	}
	if status, text := r.ask(r.admin, "GET", apiRoot+"/support", nil); status != http.StatusOK || text != "\x1f\x8bwhat was gathered" {
		t.Errorf("the bundle: %d %q", status, text)
	}
	last, err := r.Ledger.Latest(1, "audit")
	if err != nil || len(last) != 1 || last[0].Action != "support.bundle" || last[0].Actor == "" {
		t.Errorf("the ledger does not tell who took it: %+v, %v", last, err)
	}
	broken = errors.New("the disk is gone")
	if status, text := r.ask(r.admin, "GET", apiRoot+"/support", nil); status != http.StatusInternalServerError || strings.Contains(text, "gathered") || strings.Contains(text, "disk") {
		t.Errorf("half a bundle: %d %q", status, text)
	}
}
