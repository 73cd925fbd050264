package snmpconn

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/gosnmp/gosnmp"
)

// getChunk is how many objects are asked for in one Get.
const getChunk = 24

// Session is one conversation with one agent. It is for one goroutine.
type Session struct {
	pool    *Pool
	agent   *agent
	address string
	cred    Credential
	g       *gosnmp.GoSNMP
	tap     *tap
	failed  bool // the last exchange had no answer
}

// tap counts what is heard and keeps the last message, for its report.
type tap struct {
	net.Conn
	heard int
	last  []byte
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if n > 0 {
		t.heard++
		t.last = b[:n]
	}
	return n, err
}

// connect opens a socket of its own for the session, so that no late answer
// to an earlier one is ever read.
func (s *Session) connect(ctx context.Context, host string, port uint16) error {
	g, used := s.pool.client()
	g.Target, g.Port, g.Context = host, port, ctx
	g.Timeout, g.Retries, g.MaxOids = s.pool.o.Timeout, s.pool.o.Retries, gosnmp.MaxOids
	s.cred.configure(g, s.agent.usm)
	v3 := s.cred.version() == "3"
	if used && (s.agent.ready || !v3) {
		if v3 {
			g.MsgFlags |= gosnmp.Reportable
			g.ContextEngineID = s.agent.usm.AuthoritativeEngineID
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err != nil {
			s.pool.giveBack(g)
			return err
		}
		g.Conn = conn
	} else if err := g.Connect(); err != nil { // makes its buffer and prepares usm
		return err
	} else {
		s.agent.ready = true
		if v3 {
			g.ContextEngineID = s.agent.usm.AuthoritativeEngineID
		}
	}
	s.tap = &tap{Conn: g.Conn}
	s.g, g.Conn = g, s.tap
	return nil
}

// Close ends the session and lets the next one with this agent begin.
func (s *Session) Close() {
	if s.g == nil {
		return
	}
	_ = s.g.Close() // of a datagram socket: nothing is lost
	s.pool.giveBack(s.g)
	s.g = nil
	if s.failed && s.cred.version() == "3" {
		// What was kept of the engine may be what is wrong: find it anew.
		s.agent.usm, s.agent.ready = s.cred.usm(), false
	}
	<-s.agent.busy
	s.pool.leave(s.agent)
}

// answer is what came back for one message.
type answer struct {
	vars   []Var
	status gosnmp.SNMPError
	index  int // of the object the status is about, from 1; 0: not said
}

type operation int

const (
	opGet operation = iota
	opNext
	opBulk
)

// exchange sends one message and returns its answer. An answer with objects
// that cannot be read counts as none and is asked for again.
func (s *Session) exchange(ctx context.Context, op operation, oids []OID, reps int) (answer, error) {
	names := make([]string, len(oids))
	for i, o := range oids {
		names[i] = "." + o.String()
	}
	var err error
	for range s.pool.o.Retries + 1 {
		if ctx.Err() != nil {
			break
		}
		var a answer
		if a, err = s.once(ctx, op, names, reps); err == nil {
			s.failed, s.agent.spoke = false, true
			return a, nil
		}
		if ClassOf(err) != Garbled {
			break
		}
	}
	s.failed = true
	if err == nil {
		err = s.classify(ctx, ctx.Err())
	}
	return answer{}, err
}

func (s *Session) once(ctx context.Context, op operation, names []string, reps int) (answer, error) {
	g := s.g
	g.Context, g.Timeout = ctx, s.timeout(ctx, op)
	s.tap.heard, s.tap.last = 0, nil
	conn := s.tap.Conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // wakes the reader
	defer stop()
	var p *gosnmp.SnmpPacket
	var err error
	switch op {
	case opGet:
		p, err = g.Get(names)
	case opNext:
		p, err = g.GetNext(names)
	case opBulk:
		p, err = g.GetBulk(names, 0, uint32(reps))
	}
	if err != nil {
		return answer{}, s.classify(ctx, err)
	}
	if p.PDUType != gosnmp.GetResponse {
		return answer{}, s.fail(Garbled, "answer is a %s", p.PDUType)
	}
	a := answer{status: p.Error, index: int(p.ErrorIndex)}
	if a.status != gosnmp.NoError {
		return a, nil
	}
	if len(p.Variables) == 0 {
		return answer{}, s.fail(Garbled, "answer is empty")
	}
	a.vars = make([]Var, len(p.Variables))
	for i, v := range p.Variables {
		if a.vars[i], err = newVar(v); err != nil {
			return answer{}, s.fail(Garbled, "%w", err)
		}
	}
	return a, nil
}

// timeout leaves room for every try before the context's deadline, and for
// GetNext after a GetBulk that the agent may not know.
func (s *Session) timeout(ctx context.Context, op operation) time.Duration {
	t := s.pool.o.Timeout
	if end, ok := ctx.Deadline(); ok {
		tries := s.pool.o.Retries + 1
		if op == opBulk && !s.agent.bulk.proven {
			tries *= 3
		}
		t = min(t, time.Until(end)/time.Duration(tries))
	}
	return max(t, time.Millisecond)
}

// Get reads objects; the answer has one Var for each, in order, which may say
// that the object does not exist. It asks for fewer at once where an agent
// cannot answer so many.
func (s *Session) Get(ctx context.Context, oids ...OID) ([]Var, error) {
	out := make([]Var, 0, len(oids))
	chunk := getChunk
	for refused := 0; len(out) < len(oids); {
		part := oids[len(out):min(len(out)+chunk, len(oids))]
		vars, status, err := s.get(ctx, part)
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", part[0], err)
		}
		if status == gosnmp.NoError {
			out = append(out, vars...)
			refused = 0
			continue
		}
		refused++
		if len(part) == 1 && refused > 2 {
			return nil, fmt.Errorf("get %s: %w", part[0], s.statusError(status))
		}
		chunk = max(1, len(part)/2)
	}
	return out, nil
}

// get asks for a few objects in one message, in SNMPv1 again without those
// that do not exist.
func (s *Session) get(ctx context.Context, oids []OID) ([]Var, gosnmp.SNMPError, error) {
	vars := make([]Var, len(oids))
	asked := make([]int, len(oids)) // positions in oids still wanted
	for i := range asked {
		asked[i] = i
		vars[i] = Var{OID: oids[i], Type: NoSuchObject}
	}
	for len(asked) > 0 {
		names := make([]OID, len(asked))
		for i, at := range asked {
			names[i] = oids[at]
		}
		a, err := s.exchange(ctx, opGet, names, 0)
		if err != nil {
			return nil, 0, err
		}
		if a.status == gosnmp.NoSuchName && a.index >= 1 && a.index <= len(asked) {
			asked = append(asked[:a.index-1], asked[a.index:]...)
			continue
		}
		if a.status != gosnmp.NoError {
			return nil, a.status, nil
		}
		if len(a.vars) > len(asked) {
			return nil, 0, s.fail(Garbled, "%d objects asked for, %d answered", len(asked), len(a.vars))
		}
		if len(a.vars) < len(asked) {
			return nil, gosnmp.TooBig, nil // cut without saying so
		}
		for i, v := range a.vars {
			if v.OID.Compare(names[i]) != 0 {
				return nil, 0, s.fail(Garbled, "asked for %s, answered %s", names[i], v.OID)
			}
			vars[asked[i]] = v
		}
		return vars, gosnmp.NoError, nil
	}
	return vars, gosnmp.NoError, nil
}
