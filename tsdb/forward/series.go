package forward

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// catalogue knows the labels of the series that the log speaks of by number.
// A number means one series throughout a log, so all receivers share it.
type catalogue struct {
	dir string
	log *slog.Logger

	mu         sync.RWMutex
	series     map[chunks.HeadSeriesRef]entry
	checkpoint int // the newest that was taken into account; -1 for none
}

type entry struct {
	labels  labels.Labels
	segment int // the newest that names the series
}

func newCatalogue(dir string, log *slog.Logger) *catalogue {
	return &catalogue{dir: dir, log: log, series: map[chunks.HeadSeriesRef]entry{}, checkpoint: -1}
}

func (c *catalogue) put(list []record.RefSeries, segment int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range list {
		if e, ok := c.series[s.Ref]; ok {
			e.segment = max(e.segment, segment)
			c.series[s.Ref] = e
			continue
		}
		c.series[s.Ref] = entry{s.Labels, segment}
	}
}

// loadTries bounds how often load begins again because the store has cut the
// log meanwhile.
const loadTries = 5

// load takes in what the log holds at present.
func (c *catalogue) load() error {
	var err error
	for range loadTries {
		if err = c.loadOnce(); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("load the log's series: %w", err)
	}
	return nil
}

func (c *catalogue) loadOnce() error {
	if _, err := c.trimOnce(); err != nil {
		return err
	}
	first, last, err := wlog.Segments(c.dir)
	if err != nil || first < 0 {
		return err
	}
	for n := first; n <= last; n++ {
		if err := c.take(wlog.SegmentName(c.dir, n), func(list []record.RefSeries) { c.put(list, n) }); err != nil {
			return err
		}
	}
	return nil
}

// take hands on the series of one segment file.
func (c *catalogue) take(path string, to func([]record.RefSeries)) error {
	dec := record.NewDecoder(labels.NewSymbolTable(), c.log)
	var buf []record.RefSeries
	return eachRecord(path, c.log, func(rec []byte) error {
		if dec.Type(rec) != record.Series {
			return nil
		}
		var err error
		if buf, err = dec.Series(rec, buf[:0]); err == nil {
			to(buf)
		}
		return err
	})
}

// trim forgets, after each new checkpoint, the series that neither it nor a
// later segment names. A receiver that still reads an older segment may miss
// one then, and reads its samples from the blocks.
func (c *catalogue) trim() error {
	gone, err := c.trimOnce()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // replaced meanwhile: the next time will do
	}
	if err != nil {
		return fmt.Errorf("read checkpoint: %w", err)
	}
	if gone > 0 {
		c.log.Debug("forgot series that left the log", "series", gone)
	}
	return nil
}

func (c *catalogue) trimOnce() (gone int, err error) {
	dir, n, err := wlog.LastCheckpoint(c.dir)
	if errors.Is(err, record.ErrNotFound) {
		return 0, nil
	}
	if err != nil || n <= c.checkpoint {
		return 0, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	named := map[chunks.HeadSeriesRef]bool{}
	for _, f := range files {
		err := c.take(filepath.Join(dir, f.Name()), func(list []record.RefSeries) {
			c.put(list, n)
			for _, s := range list {
				named[s.Ref] = true
			}
		})
		if err != nil {
			return 0, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.series)
	maps.DeleteFunc(c.series, func(ref chunks.HeadSeriesRef, e entry) bool { return e.segment <= n && !named[ref] })
	c.checkpoint = n
	return before - len(c.series), nil
}
