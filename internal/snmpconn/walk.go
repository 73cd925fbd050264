package snmpconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gosnmp/gosnmp"
)

const (
	// maxStrikes is how often in a row one object may be refused, or a
	// message go unanswered, before a walk gives up on it.
	maxStrikes = 3
	// bulkStrikes is in how many walks in a row GetBulk must have gone
	// unanswered, and GetNext not, for an agent to count as ignoring it.
	bulkStrikes = 2
)

// Column is what a walk found under one root, in order.
type Column struct {
	Root OID
	Rows []Var
	// Err says why there may be more rows than these. nil: this is all.
	Err error
}

// Walk reads everything below each root. It returns what it has in any case,
// one Column a root; the error is nil only when every column is whole.
func (s *Session) Walk(ctx context.Context, roots ...OID) ([]Column, error) {
	w := &walk{s: s, cols: make([]column, len(roots)), columns: s.agent.columns}
	for i, r := range roots {
		w.cols[i] = column{Column: Column{Root: r}, cursor: r}
	}
	for {
		batch := w.batch()
		if len(batch) == 0 {
			break
		}
		if err := w.ask(ctx, batch); err != nil {
			for i := range w.cols {
				w.cols[i].end(err)
			}
		}
	}
	w.learn()
	out := make([]Column, len(roots))
	var errs []error
	var last error
	for i, c := range w.cols {
		out[i] = c.Column
		if c.Err != nil && c.Err != last { // one cause ends many columns: say it once
			errs = append(errs, fmt.Errorf("walk %s: %w", c.Root, c.Err))
			last = c.Err
		}
	}
	return out, errors.Join(errs...)
}

// walk is the state of one Walk.
type walk struct {
	s       *Session
	cols    []column
	columns int  // asked for in a message
	next    bool // GetNext for the rest of this walk
	careful bool // one row only in the next message
	silent  int  // messages in a row without a usable answer
	bulkOK  bool // GetBulk was answered
	nextOK  bool // GetNext was, after GetBulk was not
}

type column struct {
	Column
	cursor  OID
	done    bool
	strikes int
}

// end finishes an unfinished column, with an error unless err is nil.
func (c *column) end(err error) {
	if !c.done {
		c.done, c.Err = true, err
	}
}

// batch returns the columns of the next message: the first unfinished ones.
func (w *walk) batch() []*column {
	var out []*column
	for i := range w.cols {
		if !w.cols[i].done {
			if out = append(out, &w.cols[i]); len(out) == w.columns {
				break
			}
		}
	}
	return out
}

// ask sends one message for the batch and takes in its answer. The error ends
// the walk.
func (w *walk) ask(ctx context.Context, batch []*column) error {
	op, reps := opBulk, w.s.agent.reps
	if w.careful {
		reps, w.careful = 1, false
	}
	if w.next || w.s.cred.version() == "1" || time.Now().Before(w.s.agent.bulk.banUntil) {
		op, reps = opNext, 1
	}
	oids := make([]OID, len(batch))
	for i, c := range batch {
		oids[i] = c.cursor
	}
	a, err := w.s.exchange(ctx, op, oids, reps)
	if err == nil && a.status == gosnmp.NoError {
		err = w.check(op, len(batch), reps, a.vars)
	}
	if err != nil {
		return w.unanswered(ctx, op, reps, err)
	}
	w.silent = 0
	if op == opBulk {
		w.bulkOK = true
	} else if w.next {
		w.nextOK = true
	}
	if a.status != gosnmp.NoError {
		w.refused(batch, reps, a)
		return nil
	}
	w.take(batch, a.vars)
	w.adapt(op, len(batch), reps, len(a.vars))
	return nil
}

// check holds an answer's number of objects against what was asked for.
func (w *walk) check(op operation, columns, reps int, vars []Var) error {
	if len(vars) > columns*reps || op == opNext && len(vars) != columns {
		return w.s.fail(Garbled, "%d columns of %d rows asked for, %d objects answered", columns, reps, len(vars))
	}
	return nil
}

// take adds the objects of an answer to their columns.
func (w *walk) take(batch []*column, vars []Var) {
	for i, v := range vars {
		c := batch[i%len(batch)]
		c.strikes = 0
		switch {
		case c.done:
		case v.Type == endOfMibView:
			c.end(nil)
		case v.OID.Compare(c.cursor) <= 0:
			c.end(w.s.fail(Order, "objects do not ascend: %s comes after %s", v.OID, c.cursor))
		case !v.OID.Under(c.Root):
			c.end(nil)
		case !v.Exists():
			c.end(w.s.fail(Garbled, "object %s is said not to exist in the middle of a walk", v.OID))
		case len(c.Rows) == w.s.pool.o.MaxRows:
			c.end(w.s.fail(Bound, "more than %d rows", w.s.pool.o.MaxRows))
		default:
			c.Rows = append(c.Rows, v)
			c.cursor = v.OID
		}
	}
}

// adapt learns from a good answer how much the agent can answer.
func (w *walk) adapt(op operation, columns, reps, got int) {
	a := w.s.agent
	if op != opBulk {
		return
	}
	if got < columns { // not even one row fits
		a.columns, w.columns = got, got
		return
	}
	if got == columns*reps && reps == a.reps && reps > 1 {
		a.reps = min(a.maxReps, reps*2)
	}
}

// refused deals with an error-status.
func (w *walk) refused(batch []*column, reps int, a answer) {
	err := w.s.statusError(a.status)
	at := a.index - 1
	if at < 0 || at >= len(batch) {
		at = -1
	}
	switch a.status {
	case gosnmp.TooBig:
		switch {
		case reps > 1:
			w.s.agent.reps, w.s.agent.maxReps = reps/2, reps/2
		case len(batch) > 1:
			w.columns = len(batch) / 2
			w.s.agent.columns = w.columns
		default:
			batch[0].end(err)
		}
	case gosnmp.NoSuchName: // in SNMPv1: nothing comes after it
		switch {
		case at >= 0:
			batch[at].end(nil)
		case len(batch) == 1:
			batch[0].end(nil)
		default:
			w.columns = 1
		}
	default:
		w.careful = true // rows before the bad one can be had singly
		for i, c := range batch {
			if at < 0 || i == at {
				if c.strikes++; c.strikes >= maxStrikes {
					c.end(err)
				}
			}
		}
	}
}

// unanswered deals with a message that had no usable answer: it asks for less,
// or by GetNext. It returns the error when there is nothing left to try.
func (w *walk) unanswered(ctx context.Context, op operation, reps int, err error) error {
	class := ClassOf(err)
	if ctx.Err() != nil || class != Timeout && class != Garbled {
		return err
	}
	w.silent++
	switch a := w.s.agent; {
	case w.silent >= maxStrikes:
		return err
	case op == opNext && class == Timeout:
		return err
	case op == opNext:
		w.columns = max(1, w.columns/2)
	case !a.bulk.proven && !w.bulkOK:
		w.next = true
	case reps > 1:
		a.reps = max(1, reps/2)
	default:
		w.columns = max(1, w.columns/2)
	}
	return nil
}

// learn keeps what this walk found out about GetBulk.
func (w *walk) learn() {
	b := &w.s.agent.bulk
	switch {
	case w.bulkOK:
		b.proven, b.strikes = true, 0
	case w.nextOK:
		if b.strikes++; b.strikes >= bulkStrikes {
			b.strikes, b.banUntil = 0, time.Now().Add(forget)
		}
	}
}
