package promapi

import (
	"net/http"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// slow keeps little in memory and takes seconds: it sorts windows of an hour
// for every second of an hour and a half.
const slow = `max_over_time(sum(quantile_over_time(0.5, latency_bucket[1h]))[90m:1s])`

// TestLimitsLikePrometheus gives both sides the same small limits.
func TestLimitsLikePrometheus(t *testing.T) {
	_, r := need.Seed(t)
	h := randomHistory(r)
	dir := h.folder(t)
	from, to := unix(h.from), unix(h.to)
	ask := func(expr string) request {
		return request{"/api/v1/query", values([]string{"query", expr, "time", to}), true}
	}
	ranged := func(expr, step string) request {
		return request{"/api/v1/query_range", values([]string{"query", expr, "start", from, "end", to, "step", step}), true}
	}

	few := ours(t, dir, tsdb.Options{MaxSamples: 500}).URL
	if refused := alike(t, few, peer(t, dir, outOfOrder, "--query.max-samples=500"), []request{
		ask(`up`), ask(`ifHCInOctets[1h]`), ask(`sum(ifHCInOctets)`), ask(`sum_over_time(up[90m:1s])`), ask(`sum(rate(ifHCInOctets[90m]))`),
		ranged(`up`, "15"), ranged(`ifHCInOctets`, "15"), ranged(`sum(ifHCInOctets)`, "15"), ranged(`1`, "1"), ranged(`1`, "0.4"), ranged(`up{instance="leaf1"}`, "15"),
	}); refused < 5 {
		t.Errorf("only %d queries went over the limit of samples", refused)
	}

	short := ours(t, dir, tsdb.Options{QueryTimeout: 200 * time.Millisecond}).URL
	if refused := alike(t, short, peer(t, dir, outOfOrder, "--query.timeout=200ms"), []request{
		ask(`up`), ask(slow), ranged(slow, "600"),
	}); refused != 2 {
		t.Errorf("%d queries took too long, want the two slow ones", refused)
	}
}

// TestLimitOnConcurrency has one slot and a slow query in it. Prometheus'
// body for this is "query timed out in query queue", at 503.
func TestLimitOnConcurrency(t *testing.T) {
	_, r := need.Seed(t)
	h := randomHistory(r)
	us := ours(t, h.folder(t), tsdb.Options{MaxConcurrent: 1, QueryTimeout: 20 * time.Second}).URL
	ask := func(expr, timeout string) request {
		return request{"/api/v1/query", values([]string{"query", expr, "time", unix(h.to), "timeout", timeout}), true}
	}
	done := make(chan error, 1)
	go func() {
		res, err := http.PostForm(us+"/api/v1/query", ask(slow, "3s").form)
		if err == nil {
			err = res.Body.Close()
		}
		done <- err
	}()
	want := reply{http.StatusServiceUnavailable, "application/json", `{"status":"error","errorType":"timeout","error":"query timed out in query queue"}`}
	for {
		got := ask(`up`, "50ms").do(t, us)
		if got == want {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the slow query has ended (%v) before one had to wait; last answer %+v", err, got)
		default:
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := ask(`1`, "5s").do(t, us); got.Status != http.StatusOK {
		t.Errorf("after it: %+v", got)
	}
}
