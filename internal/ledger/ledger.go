// Package ledger is the one record of what people and the product did: audit,
// alert transitions, job evidence, reports. It only grows, and each entry
// holds the hash of the one before it, so a changed, removed or swapped entry
// is found by [Chain.Verify].
//
// # Format
//
// The entries are the log "ledger" of package state, numbered densely from 1,
// each the JSON of [Entry]. Hash is the lower-case hex SHA-256 of
//
//	"nocturne ledger 1\n"
//	field(Prev) field(Seq) field(At) field(Kind) field(Actor)
//	field(Action) field(Subject) field(Incident) field(Data)
//
// where field(x) is the length of x in bytes as a uvarint, then x. Seq is
// decimal, At is time.RFC3339Nano in UTC, Data is the JSON as stored (compact),
// Prev is the Hash of the entry before, empty in the first.
//
// What the chain cannot show by itself is a ledger that someone rewrote from
// some entry to the end: for that, keep a hash elsewhere now and then.
package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/internal/state"
)

// ErrBroken says that the chain does not hold.
var ErrBroken = errors.New("the ledger's chain is broken")

// Kinds of entries.
const (
	Audit  = "audit"  // what people did
	Alert  = "alert"  // transitions
	Job    = "job"    // evidence of what ran
	Report = "report" // inspections
)

// Entry is one thing that happened. Strings that are not UTF-8 are made so.
type Entry struct {
	Seq      uint64          `json:"seq"`
	At       time.Time       `json:"at"` // UTC
	Kind     string          `json:"kind"`
	Actor    string          `json:"actor"` // person:NAME, token:NAME, remedy:NAME, system
	Action   string          `json:"action"`
	Subject  string          `json:"subject,omitempty"`  // what it was done to
	Incident string          `json:"incident,omitempty"` // id of the incident it belongs to
	Data     json.RawMessage `json:"data,omitempty"`     // never a secret
	Prev     string          `json:"prev"`
	Hash     string          `json:"hash"`
}

// Chain is the ledger. It is safe for concurrent use.
type Chain struct {
	log     *state.Log[Entry]
	verdict atomic.Pointer[Verdict]
}

// tailChecked entries are verified by Open.
const tailChecked = 256

// Open opens the ledger in db and verifies its last entries.
func Open(db *state.DB) (*Chain, error) {
	log, err := state.NewLog[Entry](db, "ledger", 1)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	c := &Chain{log: log}
	last := log.Last()
	first := uint64(1)
	if last > tailChecked {
		first = last - tailChecked + 1
	}
	if _, err := c.verify(context.Background(), first); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return c, nil
}

// Append adds an entry and returns it with Seq, At, Prev and Hash filled in.
// On return it is durable.
func (c *Chain) Append(e Entry) (Entry, error) {
	if e.Kind == "" || e.Actor == "" || e.Action == "" {
		return Entry{}, fmt.Errorf("append to ledger: an entry needs kind, actor and action: %q %q %q", e.Kind, e.Actor, e.Action)
	}
	for _, s := range []*string{&e.Kind, &e.Actor, &e.Action, &e.Subject, &e.Incident} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	if len(e.Data) > 0 {
		// Encoding again changes nothing: what is hashed is what is stored.
		data, err := json.Marshal(e.Data)
		if err != nil {
			return Entry{}, fmt.Errorf("append to ledger: data of %s: %w", e.Action, err)
		}
		e.Data = data
	}
	added, err := c.log.AppendNext(func(prev state.Entry[Entry], seq uint64, at time.Time) (Entry, []string, error) {
		e.Seq, e.At, e.Prev = seq, at, prev.Value.Hash
		e.Hash = e.hash()
		keys := []string{"kind:" + e.Kind}
		if e.Incident != "" {
			keys = append(keys, "incident:"+e.Incident)
		}
		if e.Subject != "" {
			keys = append(keys, "subject:"+e.Subject)
		}
		return e, keys, nil
	})
	if err != nil {
		return Entry{}, err
	}
	metrics.GetOrCreateCounter(`nocturne_ledger_entries_total{kind=` + strconv.Quote(e.Kind) + `}`).Inc()
	return added.Value, nil
}

// hash is computed as the package comment says.
func (e Entry) hash() string {
	b := []byte("nocturne ledger 1\n")
	for _, f := range []string{
		e.Prev, strconv.FormatUint(e.Seq, 10), e.At.UTC().Format(time.RFC3339Nano),
		e.Kind, e.Actor, e.Action, e.Subject, e.Incident, string(e.Data),
	} {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// verify checks the entries from first on; what came before first is believed.
func (c *Chain) verify(ctx context.Context, first uint64) (n uint64, err error) {
	last := c.log.Last()
	prev := ""
	for e, err := range c.log.Read(first) {
		if err != nil {
			return n, fmt.Errorf("%w at entry %d: %w", ErrBroken, first+n, err)
		}
		if err := ctx.Err(); err != nil {
			return n, fmt.Errorf("verify ledger: %w", err)
		}
		v := e.Value
		switch {
		case e.Seq != first+n || v.Seq != e.Seq:
			return n, fmt.Errorf("%w at entry %d: it is missing or out of place", ErrBroken, first+n)
		case v.Hash != v.hash():
			return n, fmt.Errorf("%w at entry %d: it was changed", ErrBroken, e.Seq)
		case v.Prev != prev && (n > 0 || first == 1):
			return n, fmt.Errorf("%w at entry %d: it does not follow the one before", ErrBroken, e.Seq)
		}
		prev = v.Hash
		n++
	}
	if first+n-1 < last {
		return n, fmt.Errorf("%w at entry %d: it is missing", ErrBroken, first+n)
	}
	return n, nil
}

// Read returns the entries from number from on, oldest first.
func (c *Chain) Read(from uint64) iter.Seq2[Entry, error] { return values(c.log.Read(from)) }

// Incident returns the entries of one incident, oldest first.
func (c *Chain) Incident(id string) iter.Seq2[Entry, error] {
	return values(c.log.ReadIndex("incident:" + id))
}

// Subject returns what was done to s, oldest first.
func (c *Chain) Subject(s string) iter.Seq2[Entry, error] {
	return values(c.log.ReadIndex("subject:" + s))
}

// Latest returns the last n entries of a kind, or of all for "", newest first.
func (c *Chain) Latest(n int, kind string) ([]Entry, error) {
	entries := c.log.ReadBack()
	if kind != "" {
		entries = c.log.ReadIndexBack("kind:" + kind)
	}
	var latest []Entry
	if n <= 0 {
		return latest, nil
	}
	for e, err := range values(entries) {
		if err != nil {
			return latest, err
		}
		if latest = append(latest, e); len(latest) >= n {
			break
		}
	}
	return latest, nil
}

func values(in iter.Seq2[state.Entry[Entry], error]) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range in {
			if !yield(e.Value, err) {
				return
			}
		}
	}
}

// Head is where a chain ends.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// HeadIn returns where the chain ends in a snapshot of its database.
func (c *Chain) HeadIn(s *state.Snapshot) (Head, error) {
	last, err := c.log.LastIn(s)
	if err != nil {
		return Head{}, fmt.Errorf("find the ledger's end: %w", err)
	}
	return Head{Seq: last.Seq, Hash: last.Value.Hash}, nil
}
