package tsdb

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
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
	orphans bool // series may be unknown; their samples are dropped, see rewrite
	mapped  mappedLate
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
func repairLogs(dir string, known map[string]int64, mapped mappedLate, log *slog.Logger) ([]LostLog, string, error) {
	r := &logRepair{dir: dir, log: log, mapped: mapped, lastT: math.MinInt64,
		refs: map[chunks.HeadSeriesRef]bool{}, late: map[chunks.HeadSeriesRef]bool{}}
	if err := os.RemoveAll(filepath.Join(dir, repairName)); err != nil {
		return nil, "", err
	}
	if err := r.scan(known); err != nil {
		return nil, "", err
	}
	if err := r.cutTails(); err != nil {
		return nil, "", err
	}
	damaged := r.orphans || slices.ContainsFunc(r.files, func(f *logFile) bool { return len(f.damage) > 0 || f.size < f.known })
	if damaged {
		// The sizes in it are no longer true from here on.
		if err := os.RemoveAll(filepath.Join(dir, logSizesName)); err != nil {
			return nil, "", err
		}
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

// scan reads the headers of all that the library is going to replay.
func (r *logRepair) scan(known map[string]int64) error {
	folders, err := r.folders()
	if err != nil {
		return err
	}
	for _, place := range folders {
		segments, err := segmentsFrom(place.path, place.first)
		if err != nil {
			return err
		}
		for i, n := range segments {
			for gap := n; i > 0 && gap > segments[i-1]+1; gap-- {
				// The library takes no log with a number missing.
				if err := os.WriteFile(segmentPath(place.path, gap-1), nil, 0o666); err != nil {
					return err
				}
				r.orphans = true
				r.lost = append(r.lost, LostLog{Bytes: known[relative(r.dir, segmentPath(place.path, gap-1))]})
			}
		}
		files, err := r.scanFolder(place.path, segments, known)
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

type logPlace struct {
	path  string
	first int // segment that is replayed
}

// folders lists the last checkpoint and the logs, as they are replayed.
func (r *logRepair) folders() ([]logPlace, error) {
	wal := filepath.Join(r.dir, "wal")
	points, err := filepath.Glob(filepath.Join(wal, checkpointPrefix+"*"))
	if err != nil {
		return nil, err
	}
	last, at := "", -1
	for _, p := range points {
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(p), checkpointPrefix)); err == nil && n > at {
			last, at = p, n
		}
	}
	folders := []logPlace{{wal, at + 1}, {filepath.Join(r.dir, "wbl"), 0}}
	if last != "" {
		folders = slices.Insert(folders, 0, logPlace{last, 0})
	}
	return folders, nil
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
		f.damage = walkLog(data, func(off int64, _ compression.Type, _ []byte) { good = off })
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

// filter returns a record as it is to be written again, and whether something
// was left out of it.
func (r *logRepair) filter(f *logFile, d logRecord, orphans *LostLog) (plain []byte, less bool) {
	var enc record.Encoder
	switch d.kind {
	case record.Series:
		for _, s := range d.series {
			r.refs[s.Ref] = true
		}
	case record.Samples, record.SamplesV2:
		if len(d.samples) == 0 {
			return d.plain, false
		}
		if r.open < len(r.lost) {
			r.until(d.samples[0].T)
		}
		r.lastT = d.samples[len(d.samples)-1].T
		known := make([]record.RefSample, 0, len(d.samples))
		for _, s := range d.samples {
			if r.orphans && !r.refs[s.Ref] {
				orphans.add(s.T)
				continue
			}
			known = append(known, s)
			if f.late {
				r.late[s.Ref] = true
			}
		}
		switch {
		case len(known) == len(d.samples):
			return d.plain, false
		case len(known) == 0:
			return nil, true
		}
		enc.EnableSTStorage = d.kind == record.SamplesV2
		return enc.Samples(known, nil), true
	case record.MmapMarkers:
		known := make([]record.RefMmapMarker, 0, len(d.markers))
		for _, m := range d.markers {
			if r.mapped[m.MmapRef] || m.MmapRef == 0 && !r.late[m.Ref] {
				known = append(known, m)
			}
		}
		switch {
		case len(known) == len(d.markers):
			return d.plain, false
		case len(known) == 0:
			return nil, true
		}
		return enc.MmapMarkers(known, nil), true
	}
	return d.plain, false
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
	tmp := filepath.Join(r.dir, repairName)
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
