package tsdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tombstones"
	"github.com/prometheus/prometheus/util/compression"

	"nocturne/tsdb/folder"
)

// Report is what Verify read and what it found wrong.
type Report struct {
	Blocks   int
	Segments int   // of the logs, checkpoints and mapped chunks
	Samples  int64 // read, those that are in a block and still in a log twice
	Faults   []Fault
}

// Fault is one thing wrong in a data folder.
type Fault struct {
	File   string // in the folder
	Offset int64  // in File, -1 when the whole of it is meant
	What   string
	Advice string
}

const (
	adviseBlock   = "opening sets the block aside (" + damagedSuffix + ") and answers without it; restore the block from a backup, or delete it"
	adviseChunk   = "queries over this series and time fail; restore the block from a backup, or delete it"
	adviseMeta    = "opening restores it from the copy in " + sumName
	adviseSum     = "opening writes it anew"
	adviseLog     = "opening keeps a copy of the segment and reads on after the damage; the samples in the damaged records are lost"
	adviseMissing = "opening goes on without it; its samples are lost, and those of series that it alone names"
	adviseTail    = "nothing to do: a process was killed while it wrote; the record was not acknowledged"
	adviseMapped  = "nothing to do: opening builds the mapped chunks anew from the log"
)

// verifier goes through a folder; done and total are bytes.
type verifier struct {
	dir         string
	report      Report
	progress    func(done, total int64)
	done, total int64
	log         *slog.Logger
}

// Verify reads every block, log segment, checkpoint and mapped chunk of a data
// folder that is not open, blocks of tiers included, and reports what is wrong.
// It changes nothing. Progress may be nil; it is called with bytes. An error
// means that the folder could not be read, not that something in it is wrong.
func Verify(dir string, progress func(done, total int64)) (Report, error) {
	if _, err := os.Stat(dir); err != nil {
		return Report{}, fmt.Errorf("verify history: %w", err)
	}
	lock, _, err := fileutil.Flock(filepath.Join(dir, "lock"))
	if err != nil {
		return Report{}, fmt.Errorf("verify history %s: in use by another process? %w", dir, err)
	}
	v := &verifier{dir: dir, progress: progress, log: slog.New(slog.DiscardHandler)}
	if err := errors.Join(v.walk(), lock.Release()); err != nil {
		return v.report, fmt.Errorf("verify history %s: %w", dir, err)
	}
	return v.report, nil
}

// walk finds the blocks and log folders, sums up their sizes, and reads them.
func (v *verifier) walk() error {
	var blocks, logs, mapped []string
	err := filepath.WalkDir(v.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if !e.IsDir() {
			if st, err := e.Info(); err == nil {
				v.total += st.Size()
			}
			return nil
		}
		switch {
		case path == v.dir:
		case strings.HasSuffix(name, damagedSuffix), strings.HasPrefix(name, keptLogPrefix), name == openingName, strings.HasSuffix(name, ".tmp"):
			return fs.SkipDir
		case folder.IsBlock(name):
			blocks = append(blocks, path)
		case slices.Contains(logFolders, name), strings.HasPrefix(name, checkpointPrefix):
			logs = append(logs, path)
		case name == mappedFolder:
			mapped = append(mapped, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range blocks {
		if err := v.block(path); err != nil {
			return err
		}
	}
	for _, path := range logs {
		if err := v.logs(path); err != nil {
			return err
		}
	}
	for _, path := range mapped {
		if err := v.mapped(path); err != nil {
			return err
		}
	}
	if err := v.missing(); err != nil {
		return err
	}
	v.read(v.total - v.done)
	return nil
}

// missing reports the files of the logs and mapped chunks that are not there.
func (v *verifier) missing() error {
	known := readLogSizes(v.dir)
	places, err := logPlaces(v.dir, known)
	if err != nil {
		return err
	}
	for _, place := range places {
		for _, n := range place.missing {
			v.fault(segmentPath(place.path, n), -1, adviseMissing, errors.New("is missing"))
		}
	}
	files, err := mappedFiles(filepath.Join(v.dir, mappedFolder))
	if name := missingMapped(v.dir, files, known); name != "" {
		v.fault(filepath.Join(v.dir, name), -1, adviseMapped, errors.New("is missing"))
	}
	return err
}

func (v *verifier) read(n int64) {
	v.done = min(v.done+n, v.total)
	if v.progress != nil {
		v.progress(v.done, v.total)
	}
}

func (v *verifier) fault(path string, offset int64, advice string, what error) {
	rel, err := filepath.Rel(v.dir, path)
	if err != nil {
		rel = path
	}
	v.report.Faults = append(v.report.Faults, Fault{rel, offset, what.Error(), advice})
}

// logs reads the segments of one log or checkpoint.
func (v *verifier) logs(dir string) error {
	segments, err := segmentsFrom(dir, 0)
	if err != nil {
		return err
	}
	known := readLogSizes(v.dir)
	for i, n := range segments {
		path := segmentPath(dir, n)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		v.segment(path, data, i == len(segments)-1, known[relative(v.dir, path)])
		v.report.Segments++
		v.read(int64(len(data)))
	}
	return nil
}

func (v *verifier) segment(path string, data []byte, newest bool, known int64) {
	if int64(len(data)) < known {
		v.fault(path, int64(len(data)), adviseLog, fmt.Errorf("%d bytes are missing at the end", known-int64(len(data))))
	}
	r := recordReader{}
	good := int64(0)
	damage := walkLog(data, func(off int64, compr compression.Type, rec []byte) {
		good = off
		d, err := r.read(compr, rec)
		if err != nil {
			v.fault(path, off, adviseLog, err)
			return
		}
		v.report.Samples += int64(len(d.samples) + len(d.hists) + len(d.floats))
	})
	for _, d := range damage {
		advice := adviseLog
		if newest && d.off > good && d.off >= known {
			advice = adviseTail
		}
		v.fault(path, d.off, advice, d.err)
	}
}

// mapped reads the head's mapped chunks.
func (v *verifier) mapped(dir string) error {
	files, err := mappedFiles(dir)
	if err != nil {
		return err
	}
	for _, path := range files {
		off, size, err := checkMappedFile(path, func(mappedChunk) {})
		if err != nil {
			v.fault(path, off, adviseMapped, err)
		}
		v.report.Segments++
		v.read(size)
	}
	return nil
}

func (v *verifier) block(dir string) error {
	v.report.Blocks++
	start := v.done
	defer func() {
		var size int64
		if sizes, err := blockSizes(dir); err == nil {
			for _, n := range sizes {
				size += n
			}
		}
		v.read(max(0, start+size-v.done))
	}()
	raw, err := os.ReadFile(filepath.Join(dir, folder.MetaName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch s, err := readSum(dir); {
	case errors.Is(err, errNoSum):
		if _, err := os.Stat(filepath.Join(dir, sumName)); err == nil {
			v.fault(filepath.Join(dir, sumName), -1, adviseSum, errors.New("damaged"))
		}
	case err != nil:
		return err
	default:
		if s.judgeMeta(raw) == metaDamaged {
			v.fault(filepath.Join(dir, folder.MetaName), -1, adviseMeta, errors.New("differs from its copy in "+sumName))
		}
		if err := s.checkFiles(dir, true); err != nil {
			v.fault(dir, -1, adviseBlock, err)
		}
	}
	b, err := openBlock(dir, v.log)
	if err == nil {
		meta := b.Meta()
		if err = checkTombstonesThere(dir, &meta); err != nil {
			err = errors.Join(err, b.Close())
		}
	}
	if err != nil {
		v.fault(dir, -1, adviseBlock, err)
		return nil
	}
	if err := errors.Join(v.series(b), b.Close()); err != nil {
		v.fault(dir, -1, adviseBlock, err)
	}
	return nil
}

// series reads every list of postings, series and chunk of an open block.
func (v *verifier) series(b *tsdb.Block) error {
	ix, err := b.Index()
	if err != nil {
		return err
	}
	defer ix.Close()
	cr, err := b.Chunks()
	if err != nil {
		return err
	}
	defer cr.Close()
	if err := readPostings(ix); err != nil {
		v.fault(filepath.Join(b.Dir(), "index"), -1, adviseBlock, err)
	}
	all, err := ix.Postings(context.Background(), "", "")
	if err != nil {
		return err
	}
	before := v.report.Samples
	var builder labels.ScratchBuilder
	var metas []chunks.Meta
	var it chunkenc.Iterator
	series := 0
	for all.Next() {
		series++
		if err := ix.Series(all.At(), &builder, &metas); err != nil {
			return fmt.Errorf("index: series at %d: %w", 16*all.At(), err)
		}
		builder.Sort()
		for _, m := range metas {
			var n int64
			if n, it, err = readChunk(cr, m, it); err != nil {
				segment, offset := chunks.BlockChunkRef(m.Ref).Unpack()
				v.fault(filepath.Join(b.Dir(), "chunks", fmt.Sprintf("%06d", segment+1)), int64(offset), adviseChunk,
					fmt.Errorf("chunk of %s: %w", builder.Labels(), err))
			}
			v.report.Samples += n
		}
	}
	if err := all.Err(); err != nil {
		return err
	}
	if want, got := b.Meta().Stats.NumSeries, uint64(series); want != got {
		return fmt.Errorf("%d series in the index, %d by %s", got, want, folder.MetaName)
	}
	if want, got := b.Meta().Stats.NumSamples, uint64(v.report.Samples-before); want != got && len(v.report.Faults) == 0 {
		return fmt.Errorf("%d samples in the chunks, %d by %s", got, want, folder.MetaName)
	}
	return nil
}

// readPostings reads every list of postings, each of which has a checksum.
func readPostings(ix tsdb.IndexReader) error {
	ctx := context.Background()
	names, err := ix.LabelNames(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		values, err := ix.LabelValues(ctx, name, nil)
		if err != nil {
			return err
		}
		for _, value := range values {
			p, err := ix.Postings(ctx, name, value)
			if err == nil {
				_, err = index.ExpandPostings(p)
			}
			if err != nil {
				return fmt.Errorf("postings of %s=%q: %w", name, value, err)
			}
		}
	}
	return nil
}

// readChunk reads a chunk, whose checksum the library compares, and its
// samples, which must be in order and within the times that the index says.
func readChunk(cr tsdb.ChunkReader, m chunks.Meta, it chunkenc.Iterator) (n int64, _ chunkenc.Iterator, _ error) {
	c, _, err := cr.ChunkOrIterable(m)
	if err != nil {
		return 0, it, err
	}
	it = c.Iterator(it)
	last := int64(0)
	for it.Next() != chunkenc.ValNone {
		t := it.AtT()
		if t < m.MinTime || t > m.MaxTime || n > 0 && t <= last {
			return n, it, fmt.Errorf("sample at %d after %d in a chunk from %d to %d", t, last, m.MinTime, m.MaxTime)
		}
		last = t
		n++
	}
	return n, it, it.Err()
}

// recordReader decodes log records.
type recordReader struct {
	buf compression.DecodeBuffer
	dec record.Decoder
}

// logRecord is a record decoded, as far as it is looked into.
type logRecord struct {
	kind    record.Type
	plain   []byte // the record without compression
	series  []record.RefSeries
	samples []record.RefSample
	hists   []record.RefHistogramSample
	floats  []record.RefFloatHistogramSample
	stones  []tombstones.Stone
	markers []record.RefMmapMarker
}

func (r *recordReader) begin() {
	if r.buf == nil {
		r.buf = compression.NewSyncDecodeBuffer()
		r.dec = record.NewDecoder(nil, slog.New(slog.DiscardHandler))
	}
}

func (r *recordReader) read(compr compression.Type, rec []byte) (d logRecord, err error) {
	r.begin()
	if d.plain, err = compression.Decode(compr, rec, r.buf); err != nil {
		return d, err
	}
	d.kind = r.dec.Type(d.plain)
	switch d.kind {
	case record.Series:
		d.series, err = r.dec.Series(d.plain, nil)
	case record.Samples, record.SamplesV2:
		d.samples, err = r.dec.Samples(d.plain, nil)
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		d.hists, err = r.dec.HistogramSamples(d.plain, nil)
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		d.floats, err = r.dec.FloatHistogramSamples(d.plain, nil)
	case record.Tombstones:
		d.stones, err = r.dec.Tombstones(d.plain, nil)
	case record.MmapMarkers:
		d.markers, err = r.dec.MmapMarkers(d.plain, nil)
	case record.Unknown:
		err = errors.New("record of unknown type")
	}
	if err != nil {
		err = fmt.Errorf("decode %s record: %w", d.kind, err)
	}
	return d, err
}
