package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// caller is one who works against a child until it is gone or over is closed.
type caller interface {
	work(p *process, over <-chan struct{})
}

// load lets callers work until the child is gone or the returned function is
// called, which waits for them.
func load(p *process, callers ...caller) (done func()) {
	over := make(chan struct{})
	var wg sync.WaitGroup
	for _, c := range callers {
		wg.Go(func() { c.work(p, over) })
	}
	return sync.OnceFunc(func() { close(over); wg.Wait() })
}

// rest waits, and tells whether there is still something to work for.
func (p *process) rest(over <-chan struct{}, d time.Duration) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-p.gone:
		return false
	case <-over:
		return false
	case <-late.C:
		return true
	}
}

// apiPath is the root of the API.
const apiPath = "/api/nocturne/v1"

// submit sends something to a path as the administrator. Without a whole answer
// the status is 0: nobody knows whether it was done.
func (p *process) submit(path string, header map[string]string, body []byte, into any) (status int, err error) {
	req, err := http.NewRequest(http.MethodPost, p.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.AddCookie(&http.Cookie{Name: p.login.name, Value: p.login.value})
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return resp.StatusCode, fmt.Errorf("POST %s: %s: %s", path, resp.Status, b)
	}
	return resp.StatusCode, json.Unmarshal(b, into)
}

var asJSON = map[string]string{"Content-Type": "application/json"}

// underway tells of requests whose answer is awaited, so that a kill can hit one.
type underway struct {
	begun chan struct{} // gets one when a request has begun; capacity 1

	mu    sync.Mutex // guards below
	now   bool
	since time.Time
	usual time.Duration // what the last one took
}

func newUnderway() *underway { return &underway{begun: make(chan struct{}, 1)} }

func (u *underway) begin() {
	u.mu.Lock()
	u.now, u.since = true, time.Now()
	u.mu.Unlock()
	select {
	case u.begun <- struct{}{}:
	default:
	}
}

// end tells that an answer came. One whose answer never came stays under way
// until taken.
func (u *underway) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now, u.usual = false, time.Since(u.since)
}

// taken tells whether one was under way when the child went, and forgets it.
func (u *underway) taken() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now
	u.now = false
	return now
}

// hit waits until one begins and then a part of what it usually takes.
func (u *underway) hit(t *testing.T, p *process, part float64) {
	t.Helper()
	select {
	case <-u.begun: // perhaps long ago
	default:
	}
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	select {
	case <-u.begun:
	case <-p.gone:
	case <-late.C:
		t.Errorf("what was to be killed does not begin in 30 s")
	}
	u.mu.Lock()
	d := max(u.usual, 10*time.Millisecond)
	u.mu.Unlock()
	p.dies(time.Duration(part * float64(d)))
}
