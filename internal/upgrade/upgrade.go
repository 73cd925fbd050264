package upgrade

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"nocturne/internal/state"
	"nocturne/tsdb/folder"
)

// Upgrade brings one data folder up to this version.
type Upgrade struct {
	dir, program string
	log          *slog.Logger
	mark         Mark
	began        time.Time
}

// Begin looks at a data folder that this process has locked, and marks an empty
// one as of this version.
func Begin(dir, program string, log *slog.Logger) (*Upgrade, error) {
	if err := Check(dir); err != nil {
		return nil, err
	}
	m, ok, err := Read(dir)
	if err != nil {
		return nil, err
	}
	u := &Upgrade{dir: dir, program: program, log: log.With("component", "upgrade"), mark: m, began: time.Now()}
	if !ok {
		u.mark = Mark{Format: Current, Program: program, Since: now()}
		return u, write(dir, u.mark)
	}
	return u, nil
}

func (u *Upgrade) needed() bool { return u.mark.Format < Current || u.mark.Pending != 0 }

// Keep exports state, where it is to be upgraded, before anything is written to
// it. After a kill in the middle of an upgrade the earlier export stands.
func (u *Upgrade) Keep(ctx context.Context, db *state.DB) error {
	if !u.needed() || u.mark.Pending != 0 {
		return nil
	}
	u.log.Info("the data folder is of an earlier version: it is kept and upgraded", "format", u.mark.Format, "to", Current, "program", u.program)
	p := &Previous{Format: u.mark.Format, Program: u.mark.Program, Kept: fmt.Sprintf("state-before-%d.export", Current), At: now()}
	if err := export(ctx, db, filepath.Join(u.dir, p.Kept)); err != nil {
		return fmt.Errorf("upgrade %s: keep state as it is: %w", u.dir, err)
	}
	m := u.mark
	m.Pending, m.Previous, m.Program, m.Since = Current, p, u.program, now()
	if err := write(u.dir, m); err != nil {
		return fmt.Errorf("upgrade %s: %w", u.dir, err)
	}
	u.mark = m
	return nil
}

// Done says what an upgrade did.
type Done struct {
	From, To int
	state.Raised
	Kept string // the file that holds state as it was before
	Took time.Duration
}

// Finish brings every record up, once all tables are known to db. Where there
// was something to do it calls record, whose entry in the ledger comes before
// the upgrade counts as done: after a kill there may be two, never none.
func (u *Upgrade) Finish(ctx context.Context, db *state.DB, record func(Done) error) (err error) {
	if !u.needed() {
		return nil
	}
	d := Done{From: u.mark.Format, To: Current, Kept: u.mark.Previous.Kept}
	if d.Raised, err = db.Raise(ctx); err != nil {
		return fmt.Errorf("upgrade %s: %w", u.dir, err)
	}
	for _, fault := range d.Faults {
		u.log.Error("a record cannot be upgraded and stays as it is", "err", fault)
	}
	d.Took = time.Since(u.began)
	if err := record(d); err != nil {
		return fmt.Errorf("upgrade %s: %w", u.dir, err)
	}
	m := u.mark
	m.Format, m.Pending = Current, 0
	if err := write(u.dir, m); err != nil {
		return fmt.Errorf("upgrade %s: %w", u.dir, err)
	}
	u.mark = m
	u.log.Info("upgraded", "from", d.From, "to", d.To, "records", d.Records, "faults", len(d.Faults), "kept", d.Kept, "took", d.Took.Round(time.Millisecond))
	return nil
}

// export writes all of state to a file and compares what it reads back.
func export(ctx context.Context, db *state.DB, path string) (err error) {
	snap, err := db.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	wrote := sha256.New()
	if _, err := snap.Export(ctx, io.MultiWriter(f, wrote), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := readsBack(f, wrote); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(path))
}

func readsBack(f *os.File, wrote hash.Hash) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	read := sha256.New()
	if _, err := io.Copy(read, f); err != nil {
		return err
	}
	if string(read.Sum(nil)) != string(wrote.Sum(nil)) {
		return fmt.Errorf("%s reads back differently: the disk is faulty", f.Name())
	}
	return nil
}
