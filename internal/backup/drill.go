package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nocturne/internal/state"
	"nocturne/tsdb/archive"
)

// DrillOptions say what is tried and where.
type DrillOptions struct {
	At time.Time // as for a restore
	In string    // the folder in which a temporary one is made; empty: the system's
	// History opens the restored history as the server would and returns what is
	// wrong with it. It may be nil.
	History  func(ctx context.Context, dir string) (faults []string, err error)
	Progress func(done, total int64)
}

// Drilled says how a restore went that was only tried.
type Drilled struct {
	Restored
	Records int           `json:"records"` // of state
	Series  uint64        `json:"series"`  // in all blocks together, read one by one
	Samples uint64        `json:"samples"`
	Restore time.Duration `json:"restore_ns"`
	Read    time.Duration `json:"read_ns"` // opening it and reading all of it
	Rate    float64       `json:"bytes_per_second"`
	// Differences between what was restored and what was there when the backup
	// was made.
	Differences []string `json:"differences"`
}

// Drill restores a generation into a temporary folder, opens it, reads all of
// it, holds it against what its manifest says was there, and removes it. What
// keeps it from being restored at all is an error.
func Drill(ctx context.Context, from Store, o DrillOptions) (_ Drilled, err error) {
	wrap := func(err error) error { return fmt.Errorf("restore drill from %s: %w", from, err) }
	dir, err := os.MkdirTemp(o.In, "nocturne-drill-")
	if err != nil {
		return Drilled{}, wrap(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := Drilled{Differences: []string{}}
	start := time.Now()
	data := filepath.Join(dir, "data")
	d.Restored, err = restore(ctx, from, RestoreOptions{At: o.At, Into: data, Progress: o.Progress}, func(string, *Restored) error { return nil })
	if err != nil {
		return Drilled{}, wrap(err)
	}
	d.Restore = time.Since(start)
	d.Rate = float64(d.Bytes) / d.Restore.Seconds()
	read := time.Now()
	if err := errors.Join(d.lookAtState(ctx, filepath.Join(data, "state")), d.lookAtHistory(ctx, filepath.Join(data, "history"), o)); err != nil {
		return Drilled{}, wrap(err)
	}
	d.Read = time.Since(read)
	return d, nil
}

func (d *Drilled) lookAtState(ctx context.Context, dir string) (err error) {
	db, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	snap, err := db.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	content, err := snap.Content(ctx, true)
	if err != nil {
		return err
	}
	for _, c := range content {
		d.Records += c.Records
	}
	d.Differences = append(d.Differences, contentDifferences(d.want.Content, content)...)
	return nil
}

func (d *Drilled) lookAtHistory(ctx context.Context, dir string, o DrillOptions) error {
	if _, err := os.Stat(dir); err != nil {
		if len(d.base.Blocks) > 0 {
			d.Differences = append(d.Differences, "there is no history")
		}
		return nil
	}
	blocks, err := archive.Counted(ctx, dir)
	if err != nil {
		d.Differences = append(d.Differences, err.Error())
		return ctx.Err()
	}
	for _, b := range blocks {
		d.Series += b.Series
		d.Samples += b.Samples
	}
	d.Differences = append(d.Differences, blockDifferences(d.base.Blocks, blocks)...)
	if o.History == nil {
		return nil
	}
	faults, err := o.History(ctx, dir)
	d.Differences = append(d.Differences, faults...)
	return err
}

// contentDifferences holds two counts against each other, and the digests where
// both have them.
func contentDifferences(want, got map[string]state.Content) (differences []string) {
	kinds := map[string]bool{}
	for k := range want {
		kinds[k] = true
	}
	for k := range got {
		kinds[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		w, g := want[k], got[k]
		switch {
		case w.Records != g.Records:
			differences = append(differences, fmt.Sprintf("%s: %d, there were %d", k, g.Records, w.Records))
		case w.Digest != "" && g.Digest != "" && w.Digest != g.Digest:
			differences = append(differences, fmt.Sprintf("%s: as many, %d, but not the same", k, g.Records))
		}
	}
	return differences
}

func blockDifferences(want, got []archive.BlockCount) (differences []string) {
	have := map[string]archive.BlockCount{}
	for _, b := range got {
		have[b.Name] = b
	}
	for _, w := range want {
		g, ok := have[w.Name]
		delete(have, w.Name)
		switch {
		case !ok:
			differences = append(differences, fmt.Sprintf("block %s is missing", w.Name))
		case !w.Deleted && (w.Series != g.Series || w.Samples != g.Samples):
			differences = append(differences, fmt.Sprintf("block %s: %d series and %d samples, there were %d and %d", w.Name, g.Series, g.Samples, w.Series, w.Samples))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		differences = append(differences, fmt.Sprintf("block %s was not there", name))
	}
	return differences
}
