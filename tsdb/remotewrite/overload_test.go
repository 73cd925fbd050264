package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func post(h *Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.Serve(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("\x00")), "a")
	return w
}

// TestTooManyAtOnce holds the only slot: the next request waits five seconds
// and is told to come again, and the one after the slot is free is taken.
func TestTooManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		h, err := New(Options{MaxConcurrent: 1, Begin: func(context.Context, string) (Batch, error) {
			<-held
			return newHeap(rand.New(rand.NewPCG(1, 1))), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan int)
		go func() { first <- post(h).Code }()
		synctest.Wait()
		start := time.Now()
		w := post(h)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || time.Since(start) != slotWait {
			t.Errorf("%d after %v: %s", w.Code, time.Since(start), w.Body)
		}
		close(held)
		if code := <-first; code != http.StatusNoContent {
			t.Errorf("the first: %d", code)
		}
		if code := post(h).Code; code != http.StatusNoContent {
			t.Errorf("when there is room again: %d", code)
		}
	})
}

// broken is a Batch whose store fails at the end.
type broken struct {
	heap
	err error
}

func (b *broken) Commit() (Outcome, error) { return Outcome{Samples: 5}, b.err }

// TestStoreFailures are answered so that the sender comes again, and when.
func TestStoreFailures(t *testing.T) {
	readOnly, lost := errors.New("read-only"), errors.New("no space left")
	passing := fmt.Errorf("%w: no space left", readOnly)
	begin := func(err error) func(context.Context, string) (Batch, error) {
		return func(context.Context, string) (Batch, error) { return nil, err }
	}
	commit := func(err error) func(context.Context, string) (Batch, error) {
		return func(context.Context, string) (Batch, error) { return &broken{err: err}, nil }
	}
	for name, c := range map[string]struct {
		begin  func(context.Context, string) (Batch, error)
		status int
		after  string
	}{
		"begin": {begin(lost), 500, ""}, "commit": {commit(lost), 500, ""},
		"begin read-only": {begin(passing), 503, "5"}, "commit read-only": {commit(passing), 503, "5"},
	} {
		h, err := New(Options{Begin: c.begin, ReadOnly: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		if w := post(h); w.Code != c.status || w.Header().Get("Retry-After") != c.after || !strings.Contains(w.Body.String(), "no space left") {
			t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("\x00"))
		r.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
		w := httptest.NewRecorder()
		h.Serve(w, r, "a")
		if n := w.Header().Get("X-Prometheus-Remote-Write-Samples-Written"); n != "0" {
			t.Errorf("%s: %q samples written", name, n)
		}
	}
}
