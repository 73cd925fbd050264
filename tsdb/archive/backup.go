package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/tsdb/fileutil"

	"nocturne/tsdb/folder"
)

// Options say what is backed up and where to.
type Options struct {
	History string // the history's folder; a server may be using it
	To      string // the backup's folder, made when absent
	// Recheck reads all shared files in the backup again and copies those anew
	// that are damaged. Without it a file of the same size and time of change
	// counts as the one that was verified when it was copied.
	Recheck bool
	// Progress is told the bytes done and those in all. It may be nil.
	Progress func(done, total int64)
}

// Report says what a backup did.
type Report struct {
	Generation
	Copied      int   `json:"copied_files"`
	CopiedBytes int64 `json:"copied_bytes"`
	NewBlocks   int   `json:"new_blocks"` // those that the backup did not have
}

// Backup copies a history while it is in use. Every sample that was in the
// history's files when Backup was called, so every one that was acknowledged
// as synced, is in the generation that it makes. A block that the backup
// already holds is not copied again. What was copied is read back and
// compared. Cancelled or killed, it leaves no generation; the next one uses
// what had been copied.
func Backup(ctx context.Context, o Options) (Report, error) {
	r, err := backup(ctx, o)
	if err != nil {
		return Report{}, fmt.Errorf("back up %s to %s: %w", o.History, o.To, err)
	}
	return r, nil
}

func backup(ctx context.Context, o Options) (_ Report, err error) {
	if err := os.MkdirAll(filepath.Join(o.To, sharedName), 0o777); err != nil {
		return Report{}, err
	}
	lock, err := lockBackup(o.To)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	known, err := knownFiles(o.To)
	if err != nil {
		return Report{}, err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	still, err := Hold(o.History)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, still.Close()) }()

	b := &run{to: o.To, generation: now.Format(generationForm), from: still.Dir(), known: known, recheck: o.Recheck, blocks: map[string]bool{}}
	m := &manifest{Version: manifestVersion, Time: now}
	if m.Files, err = b.list(); err != nil {
		return Report{}, err
	}
	b.meter = newMeter(o.Progress, m.Files)
	for i := range m.Files {
		if err := b.store(ctx, &m.Files[i]); err != nil {
			return Report{}, fmt.Errorf("%s: %w", m.Files[i].Name, err)
		}
	}
	own := filepath.Join(o.To, b.generation)
	if err := errors.Join(os.MkdirAll(own, 0o777), syncFolders(own), syncFolders(filepath.Join(o.To, sharedName))); err != nil {
		return Report{}, err
	}
	if err := errors.Join(m.write(own), folder.Sync(o.To)); err != nil {
		return Report{}, err
	}
	r := Report{Generation: Generation{Name: b.generation, Time: now}, Copied: b.copied, CopiedBytes: b.bytes, NewBlocks: len(b.blocks)}
	r.fill(m)
	return r, nil
}

func lockBackup(dir string) (fileutil.Releaser, error) {
	lock, _, err := fileutil.Flock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("another backup, restore or pruning works on %s: %w", dir, err)
	}
	return lock, nil
}

// knownFiles are what the good generations say of the shared files.
func knownFiles(dir string) (map[string]file, error) {
	all, err := List(dir)
	if err != nil {
		return nil, err
	}
	known := map[string]file{}
	for _, g := range all {
		if g.manifest == nil {
			continue
		}
		for _, f := range g.manifest.Files {
			if sharedFile(f.Name) {
				known[f.Stored] = f
			}
		}
	}
	return known, nil
}

// run is one backup under way.
type run struct {
	from, to   string
	generation string
	known      map[string]file
	recheck    bool
	meter      *meter

	copied int
	bytes  int64
	blocks map[string]bool // with a file that was copied
}

func (b *run) list() ([]file, error) {
	found, err := stillFiles(b.from)
	var files []file
	for _, s := range found {
		f := file{Name: s.Name, Stored: path.Join(b.generation, s.Name), Size: s.Size, Modified: s.Modified}
		if s.Shared {
			f.Stored = path.Join(sharedName, s.Name)
		}
		files = append(files, f)
	}
	return files, err
}

// store brings one file into the backup, unless it is there.
func (b *run) store(ctx context.Context, f *file) error {
	from, to := filepath.Join(b.from, filepath.FromSlash(f.Name)), filepath.Join(b.to, filepath.FromSlash(f.Stored))
	if sharedFile(f.Name) {
		there, err := b.there(ctx, f, from, to)
		if err != nil || there {
			return err
		}
	}
	sum, err := copySynced(ctx, from, to, b.meter.step)
	if err != nil {
		return err
	}
	back, err := sumFile(ctx, to, func(int64) {})
	if err != nil {
		return err
	}
	if back != sum {
		return fmt.Errorf("the copy %s reads back differently: the disk or the memory is faulty", to)
	}
	f.SHA256 = sum
	b.copied++
	b.bytes += f.Size
	if dir := blockOf(f.Name); dir != "" && sharedFile(f.Name) {
		b.blocks[dir] = true
	}
	return nil
}

// there says whether the backup holds a shared file already, and sets its sum.
func (b *run) there(ctx context.Context, f *file, from, to string) (bool, error) {
	st, err := os.Stat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || st.Size() != f.Size {
		return false, err
	}
	known, ok := b.known[f.Stored]
	ok = ok && known.Size == f.Size && known.Modified.Equal(f.Modified)
	if ok && !b.recheck {
		f.SHA256 = known.SHA256
		b.meter.step(f.Size)
		return true, nil
	}
	have, err := sumFile(ctx, to, func(int64) {})
	if err != nil {
		return false, err
	}
	want := known.SHA256
	if !ok { // left by a backup that was cut short
		if want, err = sumFile(ctx, from, func(int64) {}); err != nil {
			return false, err
		}
	}
	if have != want {
		return false, nil
	}
	f.SHA256 = want
	b.meter.step(f.Size)
	return true, nil
}

// meter tells how far the bytes of some files have come.
type meter struct {
	tell        func(done, total int64)
	done, total int64
}

func newMeter(tell func(done, total int64), files []file) *meter {
	m := &meter{tell: tell}
	for _, f := range files {
		m.total += f.Size
	}
	return m
}

func (m *meter) step(n int64) {
	m.done += n
	if m.tell != nil {
		m.tell(m.done, m.total)
	}
}
