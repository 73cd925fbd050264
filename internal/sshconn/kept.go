package sshconn

import (
	"container/list"
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// key is what a kept connection may be used again for: the same address with
// the same credential.
type key struct {
	addr string
	cred [sha256.Size]byte
}

// conn is a connection that is logged in. Pool.mu guards its changing fields.
type conn struct {
	client  *ssh.Client
	nc      *wire
	hostKey ssh.PublicKey

	id       uint64
	key      key
	elem     *list.Element // nil once dropped
	active   int           // sessions
	limit    int           // sessions at once
	lastUsed time.Time
}

// acquire reserves a session on a kept connection with an id above after, or
// opens one. kept tells that it was used before, so that it may be broken.
func (p *Pool) acquire(ctx context.Context, h Host, after uint64) (c *conn, kept bool, err error) {
	cred, err := p.o.Credential(h.Credential)
	if err != nil {
		return nil, false, fail(h, BadCredential, "credential %q: %w", h.Credential, err)
	}
	l, err := p.signers.login(h.Credential, cred)
	if err != nil {
		return nil, false, fail(h, BadCredential, "credential %q: %w", h.Credential, err)
	}
	addr := h.address()
	pin, _ := p.o.HostKeys.Lookup(addr)
	k := key{addr, l.sum}
	if c := p.reuse(k, pin, after); c != nil {
		return c, true, nil
	}
	release, err := p.hosts.take(ctx, addr)
	if err != nil {
		return nil, false, busy(ctx, h, "wait for another opening to the same address")
	}
	defer release()
	if c := p.reuse(k, pin, after); c != nil { // the one before has opened it
		return c, true, nil
	}
	c, err = p.open(ctx, h, l, pin)
	if err != nil {
		return nil, false, err
	}
	if !p.keep(k, c) {
		return nil, false, fail(h, Canceled, "%w", errClosed)
	}
	return c, false, nil
}

// reuse reserves a session on a kept connection. A connection whose host key
// is no longer the pinned one is dropped.
func (p *Pool) reuse(k key, pin ssh.PublicKey, after uint64) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range slices.Backward(p.kept[k]) { // the newest is the least likely to be broken
		switch {
		case !sameKey(c.hostKey, pin):
			p.drop(c)
		case c.id > after && c.active < c.limit:
			c.active++
			p.lru.MoveToFront(c.elem)
			p.stats.Reused++
			return c
		}
	}
	return nil
}

// keep takes a new connection in with one session reserved, makes room for it,
// and watches it until it ends.
func (p *Pool) keep(k key, c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.nc.Close()
		return false
	}
	p.nextID++
	c.id, c.key, c.active = p.nextID, k, 1
	c.elem = p.lru.PushFront(c)
	p.kept[k] = append(p.kept[k], c)
	p.stats.Opened++
	p.trim()
	p.wg.Go(func() {
		_ = c.client.Wait() // how it ended is told to the sessions on it
		p.mu.Lock()
		defer p.mu.Unlock()
		p.drop(c)
	})
	return true
}

// release gives a session back.
func (p *Pool) release(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.active--
	c.lastUsed = time.Now()
	if c.elem == nil && c.active == 0 {
		c.nc.Close()
	}
	p.trim()
}

// retire keeps new sessions off a connection that did not answer as it should;
// those that run on it may end.
func (p *Pool) retire(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(c)
}

// full lowers a connection's limit to what its server has just allowed; false
// means that it did not allow even one.
func (p *Pool) full(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.active > 1 {
		c.limit = c.active - 1
	}
	return c.active > 1
}

// trim closes the least recently used connections beyond the bound, except
// those in use. p.mu is held.
func (p *Pool) trim() {
	for e := p.lru.Back(); e != nil && p.lru.Len() > p.o.MaxKept; {
		c := e.Value.(*conn)
		e = e.Prev()
		if c.active == 0 {
			p.drop(c)
		}
	}
}

// drop takes a connection out and closes it unless a session runs on it, which
// then closes it at its end. p.mu is held.
func (p *Pool) drop(c *conn) {
	if c.elem == nil {
		return
	}
	p.lru.Remove(c.elem)
	c.elem = nil
	rest := slices.DeleteFunc(slices.Clone(p.kept[c.key]), func(o *conn) bool { return o == c })
	if len(rest) == 0 {
		delete(p.kept, c.key)
	} else {
		p.kept[c.key] = rest
	}
	if c.active == 0 {
		c.nc.Close()
	}
}

func (p *Pool) closeIdle(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.lru.Front(); e != nil; {
		c := e.Value.(*conn)
		e = e.Next()
		if c.active == 0 && now.Sub(c.lastUsed) >= p.o.IdleTime {
			p.drop(c)
		}
	}
}

// keepAlive asks every kept connection for an answer and closes those without:
// sessions on them are lost anyway. It returns early when ctx ends; a question
// still open then ends with its connection.
func (p *Pool) keepAlive(ctx context.Context) {
	var asked sync.WaitGroup
	defer asked.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	for e := p.lru.Front(); e != nil; e = e.Next() {
		c, answered := e.Value.(*conn), make(chan error, 1)
		p.wg.Go(func() {
			_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		})
		asked.Go(func() {
			wait := time.NewTimer(p.o.KeepAliveWait)
			defer wait.Stop()
			select {
			case <-ctx.Done():
			case err := <-answered:
				if err != nil {
					c.nc.Close()
				}
			case <-wait.C:
				count("keepalives", "none")
				c.nc.Close()
			}
		})
	}
}
