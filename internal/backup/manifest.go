package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/internal/upgrade"
	"nocturne/tsdb/archive"
)

const (
	manifestVersion = 1
	generationForm  = "20060102T150405.000Z"

	generationsFolder = "generations"
	partsFolder       = "parts"
	sharedFolder      = "blocks"
	sumSuffix         = ".sha256"
)

// Kinds of generations.
const (
	Whole = "whole"
	Point = "point"
)

// Manifest says what a generation is made of and what its data were.
type Manifest struct {
	Version int       `json:"version"`
	Program string    `json:"program"` // version of nocturne that made it
	Format  int       `json:"format"`  // of the data folder; 0: of a version before there was one
	Name    string    `json:"name"`
	Kind    string    `json:"kind"`
	Time    time.Time `json:"time"` // of the snapshot of state
	// Base is the whole generation that a point stands on. Parent is the one
	// whose state its own goes on from; empty when it holds all of state.
	Base   string `json:"base,omitempty"`
	Parent string `json:"parent,omitempty"`

	State   File                     `json:"state"`
	Ledger  ledger.Head              `json:"ledger"`
	Content map[string]state.Content `json:"content"` // of state; digests in a whole one alone
	Blocks  []archive.BlockCount     `json:"blocks,omitempty"`
	Files   []File                   `json:"files,omitempty"` // all others
}

// nameOf is the name of a generation.
func nameOf(at time.Time, kind string) string { return at.Format(generationForm) + "." + kind }

func manifestName(generation string) string {
	return path.Join(generationsFolder, generation+".json")
}

// save writes the manifest; with it the generation counts.
func (m *Manifest) save(ctx context.Context, s Store) error {
	raw, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	name := manifestName(m.Name)
	for _, f := range []struct {
		name string
		data []byte
	}{{name + sumSuffix, sumLine(name, raw)}, {name, raw}} {
		if err := s.Put(ctx, f.name, int64(len(f.data)), bytes.NewReader(f.data)); err != nil {
			return fmt.Errorf("store %s: %w", f.name, err)
		}
		back, err := readAll(ctx, s, f.name)
		if err != nil {
			return err
		}
		if !bytes.Equal(back, f.data) {
			return fmt.Errorf("%s reads back differently: the store or the way to it is faulty", f.name)
		}
	}
	return nil
}

// sumLine is what sha256sum(1) writes of the manifest.
func sumLine(name string, raw []byte) []byte {
	return fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(raw), path.Base(name))
}

func readAll(ctx context.Context, s Store, name string) ([]byte, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// load reads a manifest and refuses one that is damaged, newer, or leads out of
// the folders.
func load(ctx context.Context, s Store, generation string) (*Manifest, error) {
	name := manifestName(generation)
	raw, err := readAll(ctx, s, name)
	if err != nil {
		return nil, err
	}
	line, err := readAll(ctx, s, name+sumSuffix)
	if err != nil {
		return nil, fmt.Errorf("checksum of %s: %w", name, err)
	}
	if !bytes.Equal(line, sumLine(name, raw)) {
		return nil, fmt.Errorf("%s is damaged, or its %s is: the checksum differs", name, sumSuffix)
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if m.Version != manifestVersion {
		return nil, fmt.Errorf("%s: version %d is not known here, only %d; it was made by nocturne %s", name, m.Version, manifestVersion, m.Program)
	}
	if m.Format > upgrade.Current {
		return nil, fmt.Errorf("%s is of a data folder of format %d, made by nocturne %s; this version knows formats up to %d", name, m.Format, m.Program, upgrade.Current)
	}
	if m.Name != generation {
		return nil, fmt.Errorf("%s tells of generation %q", name, m.Name)
	}
	for _, f := range append(slices.Clone(m.Files), m.State) {
		if !filepath.IsLocal(f.Name) || !filepath.IsLocal(f.Stored) {
			return nil, fmt.Errorf("%s: %q stored as %q leads out of the folder", name, f.Name, f.Stored)
		}
	}
	return &m, nil
}

// Generation is one that counts, by its name.
type Generation struct {
	Name string    `json:"name"`
	Kind string    `json:"kind"`
	Time time.Time `json:"time"`
}

// List returns the generations at a store, oldest first. It reads no manifest,
// so a damaged one is found when it is used.
func List(ctx context.Context, s Store) ([]Generation, error) {
	objects, err := s.List(ctx, generationsFolder)
	if err != nil {
		return nil, fmt.Errorf("list generations at %s: %w", s, err)
	}
	var all []Generation
	for _, o := range objects {
		name, ok := strings.CutSuffix(path.Base(o.Name), ".json")
		if !ok {
			continue
		}
		if g, ok := generationOf(name); ok {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b Generation) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func generationOf(name string) (Generation, bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return Generation{}, false
	}
	at, err := time.Parse(generationForm, name[:dot])
	g := Generation{Name: name, Kind: name[dot+1:], Time: at}
	return g, err == nil && (g.Kind == Whole || g.Kind == Point)
}

// newest returns the last of a kind, or of any for "", at or before a time; the
// zero time is the newest of all.
func newest(all []Generation, kind string, at time.Time) (Generation, bool) {
	for _, g := range slices.Backward(all) {
		if (kind == "" || g.Kind == kind) && (at.IsZero() || !g.Time.After(at)) {
			return g, true
		}
	}
	return Generation{}, false
}

// choose loads the newest generation at or before a time. One that is damaged
// is an error, not a reason to take an older one unasked.
func choose(ctx context.Context, s Store, at time.Time) (*Manifest, error) {
	all, err := List(ctx, s)
	if err != nil {
		return nil, err
	}
	g, ok := newest(all, "", at)
	switch {
	case ok:
		m, err := load(ctx, s, g.Name)
		if err != nil {
			return nil, fmt.Errorf("generation %s: %w; an older one is had with a time before it", g.Name, err)
		}
		return m, nil
	case len(all) == 0:
		return nil, fmt.Errorf("there is no whole generation at %s", s)
	}
	return nil, fmt.Errorf("there is no generation of %s or before at %s; the oldest is %s", at.UTC().Format(time.RFC3339), s, all[0].Name)
}

// lineage loads the generations whose state makes up that of m, the one that
// holds everything first, and the whole one that m stands on.
func lineage(ctx context.Context, s Store, m *Manifest) (states []*Manifest, base *Manifest, err error) {
	base = m
	if m.Kind == Point {
		if base, err = load(ctx, s, m.Base); err != nil {
			return nil, nil, needed(m.Base, m, err)
		}
	}
	for at := m; ; {
		states = append(states, at)
		if at.Parent == "" {
			slices.Reverse(states)
			return states, base, nil
		}
		if at.Parent >= at.Name {
			return nil, nil, fmt.Errorf("generation %s goes on from %s, which is not before it", at.Name, at.Parent)
		}
		parent, err := load(ctx, s, at.Parent)
		if err != nil {
			return nil, nil, needed(at.Parent, m, err)
		}
		at = parent
	}
}

func needed(name string, by *Manifest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("generation %s is needed for %s and is not there: %w", name, by.Name, err)
	}
	return fmt.Errorf("generation %s, needed for %s: %w", name, by.Name, err)
}
