package remotewrite_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/remotewrite"
)

// attempts are the answers to requests, by what they held.
type attempts struct {
	handler *remotewrite.Handler
	seed    maphash.Seed

	mu    sync.Mutex // guards below
	first uint64     // body of the first request
	codes map[uint64][]int
	times map[uint64][]time.Time
}

func (a *attempts) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // cut off by the sender
	}
	q.Body = io.NopCloser(bytes.NewReader(body))
	at, got := time.Now(), httptest.NewRecorder()
	a.handler.Serve(got, q, "sender")
	a.mu.Lock()
	id := maphash.Bytes(a.seed, body)
	if len(a.codes) == 0 {
		a.first = id
	}
	a.codes[id], a.times[id] = append(a.codes[id], got.Code), append(a.times[id], at)
	a.mu.Unlock()
	maps.Copy(w.Header(), got.Header())
	w.WriteHeader(got.Code)
	_, _ = w.Write(got.Body.Bytes())
}

// ofFirst is what became of the first request that came.
func (a *attempts) ofFirst() ([]int, []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.codes[a.first], a.times[a.first]
}

// TestPrometheusComesBackToAReadOnlyStore has a Prometheus server send to a
// store on a full disk, which has room later: it sends again what was answered
// with 503, not before Retry-After, and all of it arrives.
func TestPrometheusComesBackToAReadOnlyStore(t *testing.T) {
	for _, message := range []string{"prometheus.WriteRequest", "io.prometheus.write.v2.Request"} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			full, r := newRig(t, tsdb.Options{MinFree: 1 << 60}, remotewrite.Options{}), newRig(t, tsdb.Options{}, remotewrite.Options{})
			var room atomic.Bool
			h, err := remotewrite.New(remotewrite.Options{ReadOnly: tsdb.ErrReadOnly, Begin: func(ctx context.Context, sender string) (remotewrite.Batch, error) {
				db := full.db
				if room.Load() {
					db = r.db
				}
				b, err := db.Source(sender).Begin(ctx)
				if err != nil {
					return nil, err
				}
				return batch{b}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			a := &attempts{handler: h, seed: maphash.MakeSeed(), codes: map[uint64][]int{}, times: map[uint64][]time.Time{}}
			srv := httptest.NewServer(a)
			t.Cleanup(srv.Close)
			base := startPrometheus(t, func(addr string) string {
				return fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 400ms}
scrape_configs: [{job_name: self, static_configs: [{targets: [%q]}]}]
remote_write:
- url: %s
  protobuf_message: %s
  metadata_config: {send: false}
  queue_config: {batch_send_deadline: 200ms}
`, addr, srv.URL, message)
			})
			need.Until(t, "the first request has come", func() bool { codes, _ := a.ofFirst(); return len(codes) > 0 })
			room.Store(true)
			need.Until(t, "it is taken", func() bool { codes, _ := a.ofFirst(); return codes[len(codes)-1] == http.StatusNoContent })
			codes, times := a.ofFirst()
			if len(codes) < 2 {
				t.Fatalf("answered %v by a full disk", codes)
			}
			for i, code := range codes[:len(codes)-1] {
				if code != http.StatusServiceUnavailable {
					t.Errorf("answered %v", codes)
				}
				if d := times[i+1].Sub(times[i]); d < 4900*time.Millisecond {
					t.Errorf("it came again after %s, 5 s were asked for", d)
				}
			}
			want := storedAt(t, base, time.Now().Add(-time.Second))
			missing := ""
			need.Until(t, "all has come", func() bool {
				got := r.stored(t)
				missing = ""
				for name, points := range want {
					for ts, v := range points {
						if have, ok := got[name][ts]; !ok || have != v {
							missing = name
						}
					}
				}
				return missing == ""
			})
			t.Logf("%d series; the first request was answered %v", len(want), codes)
		})
	}
}
