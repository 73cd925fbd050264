package inventory

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"nocturne/internal/state"
)

// partBytes bounds what a part holds: larger values lie in the store's value
// log, which gives its room back late.
const partBytes = 64 << 10

// part is a piece of an edit that was set aside, under EDIT/NUMBER. It holds
// records as they will stand: a migration of record is one of part too.
type part struct {
	Records []record `json:"records"`
	Parts   int      `json:"parts,omitempty"` // of the edit; in its last one alone, which decides
}

// putWhole writes records so that all of them are there after any end of the
// program, or none: the store itself promises that of each alone. Once they are
// decided there is no error any more; what cannot be written out now is so
// before the next change, or at the next start. write is held.
func (g *Graph) putWhole(recs []state.Record[record]) error {
	parts, err := split(recs)
	if err != nil {
		return err
	}
	last := len(parts) - 1
	for _, p := range parts {
		g.parts = append(g.parts, p.ID)
	}
	err = g.aside.PutMany(parts[:last])
	if err == nil {
		_, err = g.aside.Put(parts[last].ID, parts[last].Value, 0)
	}
	if err != nil {
		return errors.Join(err, g.finish()) // nothing is decided: the parts go
	}
	g.decided = recs
	if err := g.finish(); err != nil {
		slog.Error("an import is not written out yet", "component", "inventory", "err", err)
	}
	return nil
}

// split cuts records into parts.
func split(recs []state.Record[record]) ([]state.Record[part], error) {
	edit := rand.Text()
	var parts []state.Record[part]
	room := 0
	for _, r := range recs {
		b, err := json.Marshal(r.Value)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", r.ID, err)
		}
		if room -= len(b); room < 0 {
			parts = append(parts, state.Record[part]{ID: fmt.Sprintf("%s/%08d", edit, len(parts))})
			room = partBytes - len(b)
		}
		p := &parts[len(parts)-1].Value
		p.Records = append(p.Records, r.Value)
	}
	parts[len(parts)-1].Value.Parts = len(parts)
	return parts, nil
}

// finish writes out what is decided and removes the parts. write is held.
func (g *Graph) finish() error {
	if len(g.decided) > 0 {
		if err := g.records.PutMany(g.decided); err != nil {
			return err
		}
	}
	// The last one goes first: without it nothing is decided any more.
	for len(g.parts) > 0 {
		last := len(g.parts) - 1
		if err := g.aside.Delete(g.parts[last], 0); err != nil && !errors.Is(err, state.ErrNotFound) {
			return fmt.Errorf("remove what was set aside: %w", err)
		}
		g.parts = g.parts[:last]
		g.decided = nil
	}
	return nil
}

// recall finds what an earlier end left aside, and takes in what was decided.
func (g *Graph) recall() error {
	edits := map[string][]state.Record[part]{}
	for rec, err := range g.aside.All("") {
		if err != nil {
			return err
		}
		edit, _, _ := strings.Cut(rec.ID, "/")
		edits[edit] = append(edits[edit], rec)
		g.parts = append(g.parts, rec.ID)
	}
	for _, parts := range edits {
		if parts[len(parts)-1].Value.Parts != len(parts) {
			continue
		}
		for _, p := range parts {
			for i := range p.Value.Records {
				r := &p.Value.Records[i]
				g.restore(r)
				g.decided = append(g.decided, state.Record[record]{ID: r.ID, Value: *r})
			}
		}
	}
	return nil
}
