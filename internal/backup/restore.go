package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nocturne/internal/glob"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/internal/upgrade"
)

// RestoreOptions say what is restored and where to.
type RestoreOptions struct {
	At   time.Time // the newest generation not after it; zero: the newest
	Into string    // the data folder: absent or empty
	// Progress is told the bytes done and those in all. It may be nil.
	Progress func(done, total int64)
}

// Restored says what was restored.
type Restored struct {
	Generation
	History time.Time   `json:"history"` // of the whole generation that it is from
	Files   int         `json:"files"`
	Bytes   int64       `json:"bytes"`
	Ledger  ledger.Head `json:"ledger"` // as it was backed up
	WithKey bool        `json:"with_key"`
	Took    string      `json:"took"`

	want *Manifest
	base *Manifest
}

const keyName = "master.key"

// Restore writes a generation into an empty data folder, which appears whole or
// not at all. Each file is checked as it comes; the error names all that are
// missing or damaged. The ledger is verified, and says afterwards that it was
// restored.
func Restore(ctx context.Context, from Store, o RestoreOptions) (Restored, error) {
	r, err := restore(ctx, from, o, func(staged string, r *Restored) error { return sign(staged, from, r) })
	if err != nil {
		return Restored{}, fmt.Errorf("restore %s from %s: %w", o.Into, from, err)
	}
	return r, nil
}

// restore calls last with the folder before it takes its place.
func restore(ctx context.Context, from Store, o RestoreOptions, last func(staged string, r *Restored) error) (_ Restored, err error) {
	start := time.Now()
	if err := mustBeEmpty(o.Into); err != nil {
		return Restored{}, err
	}
	m, err := choose(ctx, from, o.At)
	if err != nil {
		return Restored{}, err
	}
	states, base, err := lineage(ctx, from, m)
	if err != nil {
		return Restored{}, err
	}
	s, err := newStage(o.Into)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r := Restored{Generation: Generation{m.Name, m.Kind, m.Time}, History: base.Time, Ledger: m.Ledger, want: m, base: base}
	if err := s.fetch(ctx, from, states, base, o.Progress, &r); err != nil {
		return Restored{}, err
	}
	if err := s.importState(ctx, states); err != nil {
		return Restored{}, err
	}
	if err := checkState(ctx, filepath.Join(s.dir, "state"), m); err != nil {
		return Restored{}, err
	}
	// A folder without it is of the format before there was one.
	if m.Format > 0 {
		if err := upgrade.Put(s.dir, m.Format, m.Program); err != nil {
			return Restored{}, err
		}
	}
	if err := last(s.dir, &r); err != nil {
		return Restored{}, err
	}
	r.Took = time.Since(start).Round(time.Millisecond).String()
	return r, s.place(o.Into)
}

func mustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		return fmt.Errorf("the folder is not empty: it holds %s; move it away first", entries[0].Name())
	}
	return err
}

// stage is a folder beside the one that is to appear. The lock on it tells it
// from what a killed process left.
type stage struct {
	dir  string
	lock *os.File
}

const stageMark = ".restoring-"

func newStage(into string) (*stage, error) {
	into = filepath.Clean(into)
	if err := os.MkdirAll(filepath.Dir(into), 0o777); err != nil {
		return nil, err
	}
	old, err := glob.In(filepath.Dir(into), glob.Quote(filepath.Base(into)+stageMark)+"*")
	if err != nil {
		return nil, err
	}
	for _, p := range old {
		if lock, err := lockFolder(p); err == nil {
			if err := errors.Join(os.RemoveAll(p), lock.Close()); err != nil {
				return nil, fmt.Errorf("remove what an earlier restore left: %w", err)
			}
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(into), filepath.Base(into)+stageMark)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &stage{dir, lock}, nil
}

func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// Close removes what did not take its place.
func (s *stage) Close() error { return errors.Join(os.RemoveAll(s.dir), s.lock.Close()) }

// exportPath is where a generation's state lies until it is imported.
func (s *stage) exportPath(m *Manifest) string { return filepath.Join(s.dir, "exports", m.Name) }

// fetch brings all files onto the stage. It goes on after a fault, so that all
// are named.
func (s *stage) fetch(ctx context.Context, from Store, states []*Manifest, base *Manifest, progress func(done, total int64), r *Restored) error {
	type want struct {
		File
		to string
	}
	var files []want
	for _, m := range states {
		files = append(files, want{m.State, s.exportPath(m)})
	}
	for _, f := range base.Files {
		files = append(files, want{f, filepath.Join(s.dir, filepath.FromSlash(f.Name))})
		r.WithKey = r.WithKey || f.Name == keyName
	}
	meter := &meter{tell: progress}
	for _, f := range files {
		meter.total += f.Size
	}
	var faults []error
	for _, f := range files {
		if err := fetchFile(ctx, from, f.File, f.to, meter); err != nil {
			faults = append(faults, err)
			if !isDamage(err) { // the disk or the store: the rest fares no better
				break
			}
		}
		r.Files++
		r.Bytes += f.Size
	}
	if len(faults) > 0 {
		return fmt.Errorf("nothing was restored: %w", errors.Join(faults...))
	}
	return nil
}

// damage is a file that is not what its manifest says.
type damage struct{ text string }

func (d damage) Error() string { return d.text }

func isDamage(err error) bool {
	_, ok := errors.AsType[damage](err)
	return ok
}

func fetchFile(ctx context.Context, from Store, f File, to string, meter *meter) (err error) {
	in, err := from.Get(ctx, f.Stored)
	if errors.Is(err, fs.ErrNotExist) {
		return damage{fmt.Sprintf("%s is missing", f.Stored)}
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Stored, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	// One byte more than there should be shows that there is more.
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(&stopping{ctx, in, meter}, f.Size+1))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("fetch %s: %w", f.Stored, err)
	}
	switch {
	case n < f.Size:
		return damage{fmt.Sprintf("%s is damaged: %d bytes instead of %d", f.Stored, n, f.Size)}
	case n > f.Size:
		return damage{fmt.Sprintf("%s is damaged: it is longer than %d bytes", f.Stored, f.Size)}
	case hex.EncodeToString(h.Sum(nil)) != f.SHA256:
		return damage{fmt.Sprintf("%s is damaged: its checksum differs from the manifest's", f.Stored)}
	}
	return os.Chtimes(to, f.Modified, f.Modified)
}

func (s *stage) importState(ctx context.Context, states []*Manifest) (err error) {
	var parts []state.Part
	for _, m := range states {
		f, err := os.Open(s.exportPath(m))
		if err != nil {
			return err
		}
		defer f.Close()
		parts = append(parts, state.Part{Name: m.State.Stored, Reader: f})
	}
	if err := state.Import(ctx, filepath.Join(s.dir, "state"), parts...); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(s.dir, "exports"))
}

// checkState opens restored state and holds it against the manifest: the ledger
// whole and ending where it did, and as many records of each kind.
func checkState(ctx context.Context, dir string, m *Manifest) (err error) {
	db, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	chain, err := ledger.Open(db)
	if err != nil {
		return err
	}
	if _, err := chain.Verify(ctx); err != nil {
		return err
	}
	snap, err := db.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	head, err := chain.HeadIn(snap)
	if err != nil {
		return err
	}
	if head != m.Ledger {
		return fmt.Errorf("the ledger ends at entry %d, %s; when it was backed up it ended at %d, %s", head.Seq, head.Hash, m.Ledger.Seq, m.Ledger.Hash)
	}
	content, err := snap.Content(ctx, false)
	if err != nil {
		return err
	}
	if d := contentDifferences(m.Content, content); len(d) > 0 {
		return fmt.Errorf("state differs from what was backed up: %s", strings.Join(d, "; "))
	}
	return nil
}

// sign leaves in the restored ledger where it came from.
func sign(staged string, from Store, r *Restored) (err error) {
	db, err := state.Open(state.Options{Dir: filepath.Join(staged, "state")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	chain, err := ledger.Open(db)
	if err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{"from": from.String(), "generation": r.Name, "state": r.Time, "history": r.History, "ledger": r.Ledger})
	if err != nil {
		return err
	}
	_, err = chain.Append(ledger.Entry{Kind: ledger.Audit, Actor: "system", Action: "backup.restored", Subject: "backup", Data: data})
	return err
}

// place makes all durable and gives the folder its name.
func (s *stage) place(into string) error {
	if err := syncTree(s.dir); err != nil {
		return err
	}
	into = filepath.Clean(into)
	// An empty folder in its place has to go; one that was filled meanwhile stays.
	if err := os.Remove(into); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(s.dir, into); err != nil {
		return err
	}
	return syncPath(filepath.Dir(into))
}

func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
