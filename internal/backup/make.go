package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"nocturne/internal/glob"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/internal/upgrade"
)

// Source is what is backed up.
type Source struct {
	Data    string // the data folder; exports are written there before they are sent
	State   *state.DB
	Ledger  *ledger.Chain
	History string // its folder; empty leaves it out
	// Configuration returns its files as they may be stored: without secrets. May
	// be nil.
	Configuration func() ([]Text, error)
	KeyFile       string // of the master key, for Options.WithKey; "" where it comes from elsewhere
	Program       string // version of nocturne
}

// Text is a small file handed in by its content.
type Text struct {
	Name string // slash-separated
	Data []byte
}

// Options of making a generation.
type Options struct {
	// Recheck reads the shared files at the store again and stores those anew
	// that are damaged. Without it one that a good generation names with the same
	// size and time of change is believed.
	Recheck bool
	// WithKey takes the master key along: who has the backup can then open every
	// credential in it.
	WithKey bool
	// Progress is told the bytes done and those in all. It may be nil.
	Progress func(done, total int64)
}

// Report says what was made.
type Report struct {
	Generation
	Files       int           `json:"files"`
	Bytes       int64         `json:"bytes"` // of all its files, shared ones included
	CopiedFiles int           `json:"copied_files"`
	CopiedBytes int64         `json:"copied_bytes"`
	Records     int           `json:"records"` // that state holds
	Ledger      ledger.Head   `json:"ledger"`
	Took        time.Duration `json:"took_ns"`
	WithKey     bool          `json:"with_key,omitempty"`
	// Faults are manifests at the store that could not be read.
	Faults []string `json:"faults,omitempty"`

	mark Mark
}

// Mark is where the next point may go on from. It is of one open database and
// one store, and worth nothing beyond them.
type Mark struct {
	base, parent string
	upTo         uint64
}

// ErrNoWhole says that a point has nothing to stand on.
var ErrNoWhole = errors.New("there is no whole generation yet for a point to stand on")

// Mark returns where the next point may go on from.
func (r Report) Mark() Mark { return r.mark }

const spoolPrefix = "backup-spool-"

// making is a generation under way.
type making struct {
	carrier
	src   Source
	there []Generation // at the store before
	m     *Manifest
	spool string
	upTo  uint64
	files int
	total int64

	faults []string
}

// MakeWhole makes a whole generation. Cancelled or killed, it leaves none; the
// next one uses the blocks that had been stored. One process at a time makes
// generations of a data folder: the one that has its state open.
func MakeWhole(ctx context.Context, src Source, to Store, o Options) (Report, error) {
	r, err := produce(ctx, src, to, o, Whole, func(ctx context.Context, g *making) error {
		if err := g.state(ctx, 0, true); err != nil {
			return err
		}
		return g.rest(ctx, o)
	})
	r.WithKey = o.WithKey
	return r, err
}

// MakePoint makes a point that goes on from after, or one of all of state where
// after is empty or what was deleted since is not all known.
func MakePoint(ctx context.Context, src Source, to Store, after Mark, o Options) (Report, error) {
	return produce(ctx, src, to, o, Point, func(ctx context.Context, g *making) error {
		base, ok := newest(g.there, Whole, time.Time{})
		if !ok {
			return ErrNoWhole
		}
		// What the mark stands on may have been removed, or overtaken.
		if after.base != base.Name || !slices.ContainsFunc(g.there, func(x Generation) bool { return x.Name == after.parent }) {
			after = Mark{}
		}
		g.m.Base, g.m.Parent = base.Name, after.parent
		err := g.state(ctx, after.upTo, false)
		if errors.Is(err, state.ErrTooOld) {
			g.m.Parent = ""
			err = g.state(ctx, 0, false)
		}
		return err
	})
}

// produce makes one generation of what fill puts into it.
func produce(ctx context.Context, src Source, to Store, o Options, kind string, fill func(context.Context, *making) error) (_ Report, err error) {
	start := time.Now()
	wrap := func(err error) error { return fmt.Errorf("back up %s to %s: %w", src.Data, to, err) }
	if err := sweep(src.Data, spoolPrefix); err != nil {
		return Report{}, wrap(err)
	}
	spool, err := os.MkdirTemp(src.Data, spoolPrefix)
	if err != nil {
		return Report{}, wrap(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(spool)) }()
	g := &making{carrier: carrier{store: to, meter: &meter{tell: o.Progress}}, src: src, spool: spool,
		m: &Manifest{Version: manifestVersion, Program: src.Program, Kind: kind}}
	if g.there, err = List(ctx, to); err != nil {
		return Report{}, wrap(err)
	}
	if mark, ok, err := upgrade.Read(src.Data); err != nil {
		return Report{}, wrap(err)
	} else if ok {
		g.m.Format = mark.Newest()
	}
	g.checks.SetLimit(checksAtOnce)
	if err := errors.Join(fill(ctx, g), g.checks.Wait()); err != nil {
		return Report{}, wrap(err)
	}
	if err := g.m.save(ctx, to); err != nil {
		return Report{}, wrap(err)
	}
	r := Report{Generation: Generation{g.m.Name, kind, g.m.Time}, Files: g.files, Bytes: g.total, CopiedFiles: g.copied,
		CopiedBytes: g.bytes, Ledger: g.m.Ledger, Took: time.Since(start), mark: Mark{g.m.Base, g.m.Name, g.upTo}, Faults: g.faults}
	if kind == Whole {
		r.mark.base = g.m.Name
	}
	for _, c := range g.m.Content {
		r.Records += c.Records
	}
	return r, nil
}

// sweep removes what killed processes left: the caller has the state open, so
// nobody else uses it.
func sweep(dir, prefix string) error {
	old, err := glob.In(dir, prefix+"*")
	for _, p := range old {
		err = errors.Join(err, os.RemoveAll(p))
	}
	return err
}

// state takes the snapshot, which is the generation's time, and stores what it
// holds since a version.
func (g *making) state(ctx context.Context, since uint64, digests bool) error {
	snap, err := g.src.State.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	g.m.Time = time.Now().UTC().Truncate(time.Millisecond)
	// A clock that was set back must not put it before what it goes on from.
	if last, ok := newest(g.there, "", time.Time{}); ok && !g.m.Time.After(last.Time) {
		g.m.Time = last.Time.Add(time.Millisecond)
	}
	g.m.Name = nameOf(g.m.Time, g.m.Kind)
	exported := filepath.Join(g.spool, "state.export")
	x, err := export(ctx, snap, exported, since)
	if err != nil {
		return err
	}
	g.upTo = x.UpTo
	if g.m.Content, err = snap.Content(ctx, digests); err != nil {
		return err
	}
	if g.m.Ledger, err = g.src.Ledger.HeadIn(snap); err != nil {
		return err
	}
	snap.Close()
	g.m.State = File{Name: "state.export", Stored: path.Join(partsFolder, g.m.Name, "state.export"), Modified: g.m.Time}
	if st, err := os.Stat(exported); err == nil {
		g.meter.total += st.Size()
	}
	if err := g.put(ctx, &g.m.State, exported); err != nil {
		return err
	}
	g.count(g.m.State)
	return nil
}

func (g *making) count(f File) {
	g.files++
	g.total += f.Size
}

func export(ctx context.Context, snap *state.Snapshot, into string, since uint64) (x state.Exported, err error) {
	f, err := os.OpenFile(into, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return x, err
	}
	x, err = snap.Export(ctx, f, since)
	return x, errors.Join(err, f.Close())
}

// rest stores history, configuration and, where it is wanted, the key.
func (g *making) rest(ctx context.Context, o Options) error {
	if err := g.configuration(ctx); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if o.WithKey {
		if g.src.KeyFile == "" {
			return errors.New("the master key is in no file of its own: keep it where it comes from, and back up without it")
		}
		f := File{Name: "master.key", Stored: path.Join(partsFolder, g.m.Name, "master.key"), Modified: g.m.Time}
		if err := g.add(ctx, f, g.src.KeyFile); err != nil {
			return fmt.Errorf("master key: %w", err)
		}
	}
	if g.src.History == "" {
		return nil
	}
	if _, err := os.Stat(g.src.History); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever appended
	}
	if err := g.history(ctx, o.Recheck); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

func (g *making) add(ctx context.Context, f File, path string) error {
	if err := g.put(ctx, &f, path); err != nil {
		return err
	}
	g.m.Files = append(g.m.Files, f)
	g.count(f)
	return nil
}

func (g *making) configuration(ctx context.Context) error {
	if g.src.Configuration == nil {
		return nil
	}
	texts, err := g.src.Configuration()
	if err != nil {
		return err
	}
	spooled := filepath.Join(g.spool, "text")
	for _, t := range texts {
		if err := os.WriteFile(spooled, t.Data, 0o600); err != nil {
			return err
		}
		g.meter.total += int64(len(t.Data))
		name := path.Join("configuration", t.Name)
		f := File{Name: name, Stored: path.Join(partsFolder, g.m.Name, name), Modified: g.m.Time}
		if err := g.add(ctx, f, spooled); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	return nil
}
