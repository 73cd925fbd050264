package sshconn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"nocturne/internal/secret"
)

const (
	writeWait  = 10 * time.Second      // a write on a connection never blocks longer
	backoff    = 50 * time.Millisecond // after the first reset; doubled up to backoffMax
	backoffMax = 2 * time.Second
)

// login is a credential ready for use.
type login struct {
	user   string
	signer ssh.Signer
	sum    [sha256.Size]byte // of all the credential holds: a changed one is another
}

// signers remembers parsed keys by credential name, since an encrypted key
// takes about a tenth of a second to open.
type signers struct {
	mu sync.Mutex // guards m
	m  map[string]login
}

func (s *signers) login(name string, c Credential) (login, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", c.User, c.PrivateKey.Reveal(), c.Passphrase.Reveal()))
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.m[name]; ok && l.sum == sum {
		return l, nil
	}
	signer, err := parseKey(c.PrivateKey, c.Passphrase)
	if err != nil {
		return login{}, err
	}
	if s.m == nil {
		s.m = map[string]login{}
	}
	l := login{user: c.User, signer: signer, sum: sum}
	s.m[name] = l
	return l, nil
}

func parseKey(pem, pass secret.Text) (ssh.Signer, error) {
	if pass == "" {
		s, err := ssh.ParsePrivateKey([]byte(pem.Reveal()))
		if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
			return nil, errors.New("its private key is encrypted and it has no passphrase")
		}
		return s, err
	}
	return ssh.ParsePrivateKeyWithPassphrase([]byte(pem.Reveal()), []byte(pass.Reveal()))
}

// open opens a connection within the bounds, host first, then region, then
// rate, and retries resets. The region's slot is free during a backoff.
func (p *Pool) open(ctx context.Context, h Host, l login, pin ssh.PublicKey) (*conn, error) {
	var until time.Time // from the first reset on, so that waiting for slots costs no patience
	for pause := backoff; ; pause = min(2*pause, backoffMax) {
		c, err := p.openOnce(ctx, h, l, pin)
		if err == nil {
			count("openings", "ok")
			return c, nil
		}
		count("openings", string(err.Class))
		if until.IsZero() {
			until = time.Now().Add(p.o.RetryFor)
		}
		if !err.Retryable() || time.Now().Add(pause).After(until) {
			return nil, err
		}
		p.mu.Lock()
		p.stats.Resets++
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

func (p *Pool) openOnce(ctx context.Context, h Host, l login, pin ssh.PublicKey) (*conn, *Error) {
	release, err := p.regions.take(ctx, h.Region)
	if err != nil {
		return nil, busy(ctx, h, fmt.Sprintf("wait for an opening slot in region %q", h.Region))
	}
	defer release()
	if err := p.limiter(h.Region).Wait(ctx); err != nil {
		if ctx.Err() == nil { // the limiter sees beforehand that the deadline is too near
			return nil, fail(h, Busy, "wait for region %q's opening rate: %w", h.Region, err)
		}
		return nil, busy(ctx, h, fmt.Sprintf("wait for region %q's opening rate", h.Region))
	}
	dctx, cancel := context.WithTimeout(ctx, p.o.Dial)
	nc, err := (&net.Dialer{}).DialContext(dctx, "tcp", h.address())
	cancel()
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ended(ctx, h, "dial")
	case err != nil:
		return nil, fail(h, dialClass(err), "%w", err)
	}
	return p.handshake(ctx, h, l, pin, &wire{Conn: nc})
}

// handshake exchanges keys and logs in.
func (p *Pool) handshake(ctx context.Context, h Host, l login, pin ssh.PublicKey, w *wire) (*conn, *Error) {
	v := &verifier{p: p, h: h, pin: pin}
	cfg := &ssh.ClientConfig{
		User:              l.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(l.signer)},
		HostKeyCallback:   v.check,
		HostKeyAlgorithms: hostKeyAlgorithms(pin),
	}
	cfg.Ciphers = []string{ // AES has its own instructions nearly everywhere
		ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
		ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR,
	}
	hctx, cancel := context.WithTimeout(ctx, p.o.Handshake)
	defer cancel()
	stop := context.AfterFunc(hctx, func() { w.Close() })
	sc, chans, reqs, err := ssh.NewClientConn(w, h.address(), cfg)
	inTime := stop()
	hostKey, refusal := v.verdict()
	if err == nil && inTime {
		w.opened()
		return &conn{client: ssh.NewClient(sc, chans, reqs), nc: w, hostKey: hostKey, limit: p.o.SessionsPerConn}, nil
	}
	w.Close()
	switch {
	case refusal != nil:
		return nil, refusal
	case ctx.Err() != nil:
		return nil, ended(ctx, h, "handshake")
	case !inTime:
		return nil, fail(h, Timeout, "no login within %s", p.o.Handshake)
	}
	return nil, handshakeError(h, w, err)
}

// handshakeError classes a handshake that the other side ended or spoilt.
func handshakeError(h Host, w *wire, err error) *Error {
	said := w.greeting()
	switch {
	case isReset(err) && said != "" && !w.spokeSSH() && !strings.Contains(said, "MaxStartups") && !strings.Contains(said, "Not allowed at this time"):
		return fail(h, Handshake, "not an SSH server, it says %q", said)
	case isReset(err) && said != "" && !w.spokeSSH():
		return fail(h, Reset, "connection ended by the server, which says %q: %w", said, err)
	case isReset(err):
		return fail(h, Reset, "connection ended by the server during the handshake: %w", err)
	case strings.Contains(err.Error(), "unable to authenticate"), strings.Contains(err.Error(), "Too many authentication failures"):
		return fail(h, Auth, "%w", err)
	}
	return fail(h, Handshake, "%w", err)
}

// wire is a TCP connection whose writes end in time and which remembers the
// first bytes of the other side.
type wire struct {
	net.Conn
	mu   sync.Mutex // guards below
	head []byte
	done bool
}

const greetingMax = 120

func (w *wire) Write(b []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return 0, err
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.mu.Lock()
	if !w.done && n > 0 {
		w.head = append(w.head, b[:min(n, greetingMax-len(w.head))]...)
		w.done = len(w.head) == greetingMax
	}
	w.mu.Unlock()
	return n, err
}

// opened forgets the greeting.
func (w *wire) opened() {
	w.mu.Lock()
	w.head, w.done = nil, true
	w.mu.Unlock()
}

// greeting is the first line that the other side sent.
func (w *wire) greeting() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	line, _, _ := bytes.Cut(w.head, []byte("\n"))
	return strings.TrimSpace(string(line))
}

func (w *wire) spokeSSH() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.HasPrefix(w.head, []byte("SSH-"))
}
