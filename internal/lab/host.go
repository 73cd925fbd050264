package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// host answers SSH for one machine: key login, exec requests alone, each run
// by an interpreter that sees only this simulated machine.
type host struct {
	lab      *Lab
	name     string
	region   string
	place    Place
	mac      [6]byte
	nics     []string
	services []string
	machine  machine
	systemd  *systemd
	scratch  *scratch

	key      ssh.Signer
	addr     netip.AddrPort
	listener net.Listener
	down     atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool // mu guards it
}

func newHost(l *Lab, r *rand.Rand, name string, services []string) *host {
	_, priv := keyFrom(r)
	signer, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		panic(err) // an ed25519 key always makes a signer
	}
	return &host{lab: l, name: name, mac: newMAC(r), services: services, machine: newMachine(r, name, l.start),
		systemd: newSystemd(r, services), scratch: newScratch(), key: signer, conns: map[net.Conn]bool{}}
}

func (h *host) addNIC() string {
	nic := fmt.Sprintf("eth%d", len(h.nics))
	h.nics = append(h.nics, nic)
	return nic
}

func (h *host) listen() error {
	ln, err := net.Listen("tcp4", h.addr.String())
	if err != nil {
		return fmt.Errorf("listen for host %s: %w", h.name, err)
	}
	h.listener = ln
	h.addr = ln.Addr().(*net.TCPAddr).AddrPort()
	return nil
}

func (h *host) close() {
	if h.listener != nil {
		_ = h.listener.Close()
	}
	h.dropAll()
}

func (h *host) dropAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		_ = c.Close()
	}
}

func (h *host) track(c net.Conn, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if on {
		h.conns[c] = true
	} else {
		delete(h.conns, c)
	}
}

func (h *host) serve() error {
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if bytes.Equal(key.Marshal(), h.lab.clientKey.Marshal()) {
				return nil, nil
			}
			return nil, errors.New("unknown key")
		},
	}
	config.AddHostKey(h.key)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := h.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
		if h.down.Load() {
			_ = c.Close()
			continue
		}
		h.track(c, true)
		wg.Go(func() {
			defer h.track(c, false)
			defer c.Close()
			h.serveConn(c, config)
		})
	}
}

func (h *host) serveConn(c net.Conn, config *ssh.ServerConfig) {
	conn, chans, reqs, err := ssh.NewServerConn(c, config)
	if err != nil {
		h.lab.log.Debug("ssh handshake", "component", "lab", "host", h.name, "err", err)
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		ch, requests, err := nc.Accept()
		if err != nil {
			return
		}
		go h.session(ch, requests)
	}
}

func (h *host) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	defer ch.Close()
	for q := range requests {
		if q.Type != "exec" {
			_ = q.Reply(q.Type == "env", nil)
			continue
		}
		var m struct{ Command string }
		if err := ssh.Unmarshal(q.Payload, &m); err != nil {
			_ = q.Reply(false, nil)
			return
		}
		_ = q.Reply(true, nil)
		exit := h.run(m.Command, ch, ch.Stderr())
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(exit)}))
		return
	}
}

// run executes one command to its end, whether or not the client stays to see
// it, as sshd does; the journal has both moments.
func (h *host) run(command string, stdout, stderr io.Writer) int {
	done := h.lab.journal.begin(h.name, command)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	exit := h.interpret(ctx, command, &deaf{stdout}, &deaf{stderr})
	done(exit)
	h.lab.log.Debug("ran", slog.String("component", "lab"), slog.String("host", h.name), slog.Int("exit", exit))
	return exit
}

// deaf passes writes on until the reader is gone, then drops them.
type deaf struct{ w io.Writer }

func (d *deaf) Write(b []byte) (int, error) {
	if d.w != nil {
		if _, err := d.w.Write(b); err != nil {
			d.w = nil
		}
	}
	return len(b), nil
}

// HostDown makes a host refuse every connection and drops those it has.
func (l *Lab) HostDown(name string, down bool) error {
	h, err := l.host(name)
	if err != nil {
		return err
	}
	h.down.Store(down)
	if down {
		h.dropAll()
	}
	return nil
}
