package tsdb

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"

	"nocturne/tsdb/folder"
)

const repairName = "log-repair"

// logFile is a segment of a checkpoint or a log before it is replayed.
type logFile struct {
	path   string
	rel    string // in the data folder
	known  int64  // bytes known to have been on disk
	size   int64
	damage []logDamage
	late   bool // of the log of late samples
	tail   bool // the damage, if any, is what a killed process left
}

// logRepair makes the logs readable before the library replays them: its own
// repair deletes all that follows the first damage. Only the damaged records
// are dropped here, and the samples of series that they named.
type logRepair struct {
	dir   string
	log   *slog.Logger
	files []*logFile
	kept  string // folder of copies, "" as long as there is none
	lost  []LostLog

	refs    map[chunks.HeadSeriesRef]bool
	highest chunks.HeadSeriesRef // that is named at all
	orphans bool                 // series may be unknown; their samples are dropped, see rewrite
	mapped  *mappedChunks
	late    map[chunks.HeadSeriesRef]bool // series with late samples so far
	reader  recordReader
	lastT   int64
	open    int // lost[open:] have no To yet
}

// repairLogs returns what was lost and the name of the folder that holds the
// damaged files as they were, if there were any.
//
// It also takes those markers out of the log of late samples that would have
// the library drop samples. A marker says that what the log holds of a series
// so far is in a mapped chunk. The library writes it before that chunk is in
// its file, and takes it for true at replay when any later chunk is there; and
// while it compacts late samples it writes markers of no chunk at all. A kill
// in between loses the samples, unless the marker goes.
func repairLogs(dir string, known map[string]int64, mapped *mappedChunks, log *slog.Logger) ([]LostLog, string, error) {
	r := &logRepair{dir: dir, log: log, mapped: mapped, lastT: math.MinInt64,
		refs: map[chunks.HeadSeriesRef]bool{}, late: map[chunks.HeadSeriesRef]bool{}}
	// A repair that did not come to its end has left samples without a series.
	_, err := os.Stat(filepath.Join(dir, repairName))
	r.orphans = err == nil
	if err := r.scan(known); err != nil {
		return nil, "", err
	}
	if err := r.cutTails(); err != nil {
		return nil, "", err
	}
	damaged := r.orphans || slices.ContainsFunc(r.files, func(f *logFile) bool { return len(f.damage) > 0 || f.size < f.known })
	if damaged {
		// The sizes in it are no longer true from here on.
		if err := errors.Join(r.begin(), os.RemoveAll(filepath.Join(dir, logSizesName))); err != nil {
			return nil, "", err
		}
		if err := r.fill(known); err != nil {
			return nil, "", err
		}
	}
	if err := r.hide(damaged); err != nil {
		return nil, "", err
	}
	for _, f := range r.files {
		if !damaged && !f.late {
			continue
		}
		if err := r.rewrite(f); err != nil {
			return nil, "", fmt.Errorf("repair %s: %w", f.rel, err)
		}
	}
	r.until(time.Now().UnixMilli())
	for _, l := range r.lost {
		log.Error("part of the log is lost: what was readable is replayed, the damaged file is kept",
			"kept", l.File, "bytes", l.Bytes, "samples_without_series", l.Samples, "from", l.From, "to", l.To)
	}
	return r.lost, r.kept, os.RemoveAll(filepath.Join(dir, repairName))
}

// repairsName is the file that names the last repair of the log: who follows the
// log learns from it that part of it may be missing, whenever it looks.
const repairsName = "log-repaired"

// lastRepair is what the file holds, "" when there is none.
func lastRepair(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, repairsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error() // another than before: that is all that counts
	}
	return string(text)
}

// nameRepair comes before anything is lost.
func nameRepair(dir string) error {
	return writeDurably(filepath.Join(dir, repairsName), []byte(rand.Text()))
}

// begin leaves a sign of the repair until it has ended.
func (r *logRepair) begin() error {
	if err := nameRepair(r.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(r.dir, repairName), 0o777); err != nil {
		return err
	}
	return folder.Sync(r.dir)
}

// scan reads the headers of all that the library is going to replay.
func (r *logRepair) scan(known map[string]int64) error {
	places, err := logPlaces(r.dir, known)
	if err != nil {
		return err
	}
	for _, place := range places {
		r.orphans = r.orphans || len(place.missing) > 0
		files, err := r.scanFolder(place.path, place.segments, known)
		if err != nil {
			return err
		}
		for _, f := range files {
			// The series of late samples are named in the other log.
			r.orphans = r.orphans || !f.late && (f.size < f.known || len(f.damage) > 0 && !f.tail)
		}
	}
	return nil
}

// fill puts an empty segment in the place of each that is missing, since the
// library takes no log without one of its numbers, and notes what was lost.
func (r *logRepair) fill(known map[string]int64) error {
	places, err := logPlaces(r.dir, known)
	if err != nil {
		return err
	}
	for _, place := range places {
		if len(place.missing) == 0 {
			continue
		}
		if err := os.MkdirAll(place.path, 0o777); err != nil {
			return err
		}
		for _, n := range place.missing {
			path := segmentPath(place.path, n)
			r.log.Error("a segment of the log is missing", "segment", relative(r.dir, path))
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				return err
			}
			r.lost = append(r.lost, LostLog{Bytes: known[relative(r.dir, path)]})
		}
		if err := errors.Join(folder.Sync(place.path), folder.Sync(filepath.Dir(place.path))); err != nil {
			return err
		}
	}
	return nil
}

// hide hides mapped chunks that the library would read wrongly.
func (r *logRepair) hide(damaged bool) error {
	if err := r.mapped.hideNameless(r.highest); err != nil {
		return err
	}
	if damaged {
		return r.mapped.noteOnly(r.dir)
	}
	written, err := folder.Written(r.dir)
	if err != nil {
		return err
	}
	if only, err := r.mapped.onlyMapped(r.dir, written); only || err != nil {
		return err
	}
	return r.mapped.hideOne(written)
}

func (r *logRepair) scanFolder(folder string, segments []int, known map[string]int64) ([]*logFile, error) {
	var files []*logFile
	var tail *logFile // the newest file with damage after its last record
	for _, n := range segments {
		f := &logFile{path: segmentPath(folder, n), late: filepath.Base(folder) == "wbl"}
		f.rel = relative(r.dir, f.path)
		f.known = known[f.rel]
		data, err := os.ReadFile(f.path)
		if err != nil {
			return nil, err
		}
		f.size = int64(len(data))
		good := int64(-1)
		f.damage = walkLog(data, func(off int64, compr compression.Type, rec []byte) {
			good = off
			if !f.late {
				r.highest = max(r.highest, r.reader.highest(compr, rec))
			}
		})
		if good >= 0 || len(f.damage) > 0 {
			tail = nil
		}
		if len(f.damage) == 1 && f.damage[0].off > good && f.damage[0].off >= f.known {
			tail = f
		}
		files = append(files, f)
	}
	if tail != nil && !strings.HasPrefix(filepath.Base(folder), checkpointPrefix) {
		tail.tail = true
	}
	r.files = append(r.files, files...)
	return files, nil
}

// cutTails takes off the record that was being written when a process was
// killed. Nobody was told that it is stored.
func (r *logRepair) cutTails() error {
	for _, f := range r.files {
		if !f.tail {
			continue
		}
		r.log.Info("unfinished record cut from the log", "segment", f.rel, "at", f.damage[0].off, "bytes", f.size-f.damage[0].off)
		file, err := os.OpenFile(f.path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(file.Truncate(f.damage[0].off), file.Sync(), file.Close()); err != nil {
			return err
		}
		f.damage, f.size = nil, f.damage[0].off
	}
	return nil
}

// rewrite replaces a file by one without its damaged records, without samples
// whose series is unknown, and without untrue markers.
// Such samples must go: the library gives the number of a series that it does
// not know of to the next new one.
func (r *logRepair) rewrite(f *logFile) error {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	var recs [][]byte
	dropped, damage, orphans := false, f.damage, LostLog{}
	walkLog(data, func(off int64, compr compression.Type, rec []byte) {
		for len(damage) > 0 && damage[0].off < off {
			r.loses(f, damage[0])
			damage = damage[1:]
		}
		d, err := r.reader.read(compr, rec)
		if err != nil {
			r.loses(f, logDamage{off, off + int64(len(rec)), err})
			dropped, r.orphans = true, true
			return
		}
		plain, less := r.filter(f, d, &orphans)
		dropped = dropped || less
		if len(plain) > 0 {
			recs = append(recs, slices.Clone(plain))
		}
	})
	for _, d := range damage {
		r.loses(f, d)
	}
	if f.size < f.known {
		r.loses(f, logDamage{f.size, f.known, fmt.Errorf("%d bytes are missing at the end", f.known-f.size)})
	}
	if len(f.damage) == 0 && !dropped {
		return nil
	}
	if orphans.Samples > 0 {
		orphans.File = r.copyOf(f)
		r.lost = slices.Insert(r.lost, r.open, orphans)
		r.open++
	}
	if len(f.damage) > 0 || orphans.Samples > 0 {
		if err := r.keep(f); err != nil {
			return err
		}
	}
	return r.replace(f, recs)
}

// loses notes a stretch whose end in time is not known yet.
func (r *logRepair) loses(f *logFile, d logDamage) {
	r.log.Error("damaged record in the log", "segment", f.rel, "offset", d.off, "err", d.err)
	l := LostLog{File: r.copyOf(f), Bytes: d.end - d.off}
	if d.off >= f.size {
		l.File = ""
	}
	if r.lastT != math.MinInt64 {
		l.From = time.UnixMilli(r.lastT).UTC()
	}
	r.lost = append(r.lost, l)
}

func (r *logRepair) until(t int64) {
	for ; r.open < len(r.lost); r.open++ {
		r.lost[r.open].To = time.UnixMilli(t).UTC()
	}
}

// copyOf names the copy of f that keep makes.
func (r *logRepair) copyOf(f *logFile) string {
	if r.kept == "" {
		r.kept = keptLogPrefix + time.Now().UTC().Format("20060102T150405.000Z")
	}
	return filepath.Join(r.kept, f.rel)
}

// keep links f to its copy; replace leaves the link the only name of it.
func (r *logRepair) keep(f *logFile) error {
	to := filepath.Join(r.dir, r.copyOf(f))
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	if err := os.Link(f.path, to); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	logsAside.Inc()
	return errors.Join(folder.Sync(filepath.Dir(to)), folder.Sync(filepath.Join(r.dir, r.kept)), folder.Sync(r.dir))
}

// replace writes recs to a segment of their own, which takes the place of f.
func (r *logRepair) replace(f *logFile, recs [][]byte) error {
	tmp := filepath.Join(r.dir, repairName, "segment")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	size := 0
	for _, rec := range recs {
		size += 2*len(rec) + pageBytes
	}
	size += pageBytes - size%pageBytes
	w, err := wlog.NewSize(r.log, nil, tmp, size, compression.Snappy)
	if err != nil {
		return err
	}
	if err := errors.Join(w.Log(recs...), w.Close()); err != nil {
		return err
	}
	written := segmentPath(tmp, 0)
	file, err := os.OpenFile(written, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(written, f.path); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(f.path))
}
