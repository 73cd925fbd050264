package archive

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// dropMarkers rewrites a log of late samples without the records that say that
// a series' late samples have been mapped to chunks_head: the picture does not
// have those chunks, and a replay would believe the markers that name none (the
// library writes one with the first late sample after a compaction began) and
// forget the samples before them. A damaged log is left for a repair.
func dropMarkers(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	whole := dir + ".whole"
	if err := errors.Join(os.RemoveAll(whole), os.Rename(dir, whole)); err != nil {
		return err
	}
	damaged, err := copyUnmarked(whole, dir)
	if err != nil {
		return err
	}
	if damaged {
		return errors.Join(os.RemoveAll(dir), os.Rename(whole, dir))
	}
	return os.RemoveAll(whole)
}

func copyUnmarked(from, into string) (damaged bool, err error) {
	segments, err := wlog.NewSegmentsReader(from)
	if err != nil {
		return false, err
	}
	defer segments.Close()
	log, err := wlog.New(slog.New(slog.DiscardHandler), nil, into, compression.Snappy)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	kinds := record.NewDecoder(labels.NewSymbolTable(), nil)
	r := wlog.NewReader(segments)
	for r.Next() {
		if kinds.Type(r.Record()) == record.MmapMarkers {
			continue
		}
		if err := log.Log(r.Record()); err != nil {
			return false, err
		}
	}
	return r.Err() != nil, nil
}
