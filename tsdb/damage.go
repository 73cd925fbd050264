package tsdb

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"nocturne/internal/glob"
	"nocturne/tsdb/folder"
)

const (
	damagedSuffix = ".damaged"
	openingName   = "log-opening"
	keptLogPrefix = "damaged-log-"
	// checkpointPrefix begins the names of checkpoint folders in wal.
	checkpointPrefix = "checkpoint."
)

var (
	blocksAside   = metrics.GetOrCreateCounter(`nocturne_tsdb_set_aside_total{what="block"}`)
	pointsAside   = metrics.GetOrCreateCounter(`nocturne_tsdb_set_aside_total{what="checkpoint"}`)
	mappedDropped = metrics.GetOrCreateCounter(`nocturne_tsdb_set_aside_total{what="mapped_chunks"}`)
	logsAside     = metrics.GetOrCreateCounter(`nocturne_tsdb_set_aside_total{what="log"}`)
)

// setPointsAside renames the checkpoints that do not read, and returns their
// new names. The library takes a damaged checkpoint for a damaged segment of
// the same number and deletes the log after it.
func setPointsAside(dir string, log *slog.Logger) (aside []string, err error) {
	points, err := glob.In(dir, "wal", checkpointPrefix+"[0-9]*[0-9]")
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		if cause := checkCheckpoint(p); cause != nil {
			pointsAside.Inc()
			name := filepath.Join("wal", filepath.Base(p))
			log.Error("damaged checkpoint set aside: samples of the head may be missing", "checkpoint", name+damagedSuffix, "err", cause)
			if err := setAside(dir, name); err != nil {
				return nil, err
			}
			aside = append(aside, name+damagedSuffix)
		}
	}
	return aside, nil
}

func setAside(dir, name string) error {
	from := filepath.Join(dir, name)
	if err := os.Rename(from, from+damagedSuffix); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(from))
}

func checkCheckpoint(dir string) error {
	segments, err := wlog.NewSegmentsReader(dir)
	if err != nil {
		return err
	}
	defer segments.Close()
	r := wlog.NewReader(segments)
	for r.Next() {
	}
	return r.Err()
}

// keptLogs are hard links to the log segments from before they are replayed.
// Where the library finds damage it rewrites the segment and deletes those
// that follow; the links then hold the only whole copy.
type keptLogs struct{ dir string }

// keepLogs links all segments of the logs in dir. Links left by an opening
// that was killed are judged first.
func keepLogs(dir string, log *slog.Logger) (*keptLogs, error) {
	k := &keptLogs{dir: dir}
	if _, err := k.settle(log); err != nil {
		return nil, err
	}
	for _, name := range logFolders {
		segments, err := segmentsFrom(filepath.Join(dir, name), 0)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Join(dir, openingName, name), 0o777); err != nil {
			return nil, err
		}
		for _, n := range segments {
			seg := filepath.Join(name, fmt.Sprintf("%08d", n))
			if err := os.Link(filepath.Join(dir, seg), filepath.Join(dir, openingName, seg)); err != nil {
				return nil, err
			}
		}
	}
	return k, nil
}

// settle removes the links when every segment is still the one that was
// linked, and else keeps them under a name of their own, which it returns.
func (k *keptLogs) settle(log *slog.Logger) ([]string, error) {
	links := filepath.Join(k.dir, openingName)
	first, newest, err := k.firstReplaced()
	if err != nil {
		return nil, err
	}
	if first == "" {
		return nil, os.RemoveAll(links)
	}
	if err := nameRepair(k.dir); err != nil {
		return nil, err
	}
	name := keptLogPrefix + time.Now().UTC().Format("20060102T150405.000Z")
	if err := os.Rename(links, filepath.Join(k.dir, name)); err != nil {
		return nil, err
	}
	logsAside.Inc()
	log.Error("damaged log cut: samples from the damage on are lost, the whole log is kept",
		"from_segment", first, "until", newest.UTC(), "kept", name)
	return []string{name}, folder.Sync(k.dir)
}

// firstReplaced names the first linked segment that is no longer in place,
// and says when the newest segment was last written.
func (k *keptLogs) firstReplaced() (first string, newest time.Time, err error) {
	links := filepath.Join(k.dir, openingName)
	err = filepath.WalkDir(links, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		kept, err := os.Stat(path)
		if err != nil {
			return err
		}
		seg := strings.TrimPrefix(path, links+string(filepath.Separator))
		now, err := os.Stat(filepath.Join(k.dir, seg))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if kept.ModTime().After(newest) {
			newest = kept.ModTime()
		}
		if first == "" && (err != nil || !os.SameFile(kept, now)) {
			first = seg
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return first, newest, err
}
