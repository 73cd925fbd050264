package openmetrics

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	longestLine = 1 << 20
	// batch of samples that an appender holds before it commits.
	batch = 10_000
)

// Input is one text and the name that errors call it.
type Input struct {
	Name string
	Text io.Reader
}

// Options say how blocks are made.
type Options struct {
	Into  string        // an empty folder for the blocks
	Block time.Duration // of one block; each lies within a multiple of it
	// Latest is the newest time that is taken. A sample far ahead would make
	// retention, which counts from the newest block, delete all the rest.
	Latest time.Time
	// Progress is told the bytes read, and later those of samples written; it
	// may be nil. Total is Size, twice.
	Progress func(done, total int64)
	Size     int64 // of all inputs, as far as known
}

// Imported says what was read.
type Imported struct {
	Series  int       `json:"series"`
	Samples int64     `json:"samples"`
	Blocks  int       `json:"blocks"`
	Oldest  time.Time `json:"oldest"`
	Newest  time.Time `json:"newest"`
}

// Import makes blocks in o.Into from all inputs. An error names the input and
// the line, and says that nothing is to be used of what lies in o.Into by
// then. The same sample twice is taken once; two values of a series at one
// time are an error. The blocks are marked as from late samples, so that a
// store that opens with them still replays all of its own log.
func Import(ctx context.Context, inputs []Input, o Options) (Imported, error) {
	if o.Block < time.Minute || o.Into == "" {
		return Imported{}, fmt.Errorf("import into %q by blocks of %s: a folder and a minute or more are needed", o.Into, o.Block)
	}
	im := &importer{o: o, names: inputs, ids: map[string]uint64{}, spill: newSpill(o.Into, o.Block.Milliseconds()), oldest: math.MaxInt64, newest: math.MinInt64}
	for i, in := range inputs {
		if err := im.read(ctx, uint64(i), in); err != nil {
			return Imported{}, err
		}
	}
	if err := im.spill.flush(); err != nil {
		return Imported{}, fmt.Errorf("import: %w", err)
	}
	windows := im.spill.sorted()
	for i, w := range windows {
		if err := im.block(ctx, w); err != nil {
			return Imported{}, fmt.Errorf("make the block from %s on: %w", time.UnixMilli(w.start).UTC().Format(time.RFC3339), err)
		}
		im.tell(o.Size + o.Size*int64(i+1)/int64(len(windows)))
	}
	r := Imported{Series: len(im.series), Samples: im.samples, Blocks: len(windows)}
	if len(windows) > 0 {
		r.Oldest, r.Newest = time.UnixMilli(im.oldest).UTC(), time.UnixMilli(im.newest).UTC()
	}
	return r, nil
}

type importer struct {
	o       Options
	names   []Input
	read64  int64
	ids     map[string]uint64 // of series, by their labels' bytes
	series  []labels.Labels
	spill   *spill
	samples int64
	oldest  int64
	newest  int64
}

func (im *importer) tell(done int64) {
	if im.o.Progress != nil {
		im.o.Progress(done, 2*im.o.Size)
	}
}

// read spreads one input's samples.
func (im *importer) read(ctx context.Context, n uint64, in Input) error {
	r := bufio.NewReaderSize(in.Text, longestLine)
	p := parser{labels: labels.NewScratchBuilder(16)}
	var key []byte
	ended := false
	for line := uint64(1); ; line++ {
		raw, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(raw) == 0 && ended:
			return nil
		case errors.Is(err, io.EOF) && len(raw) == 0:
			return fmt.Errorf("%s:%d: the text ends without # EOF, so it may be cut short", in.Name, line)
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%s:%d: the line is longer than %d bytes", in.Name, line, longestLine)
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("%s:%d: %w", in.Name, line, err)
		}
		im.read64 += int64(len(raw))
		if line%10_000 == 0 {
			im.tell(min(im.read64, im.o.Size))
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		switch {
		case ended:
			return fmt.Errorf("%s:%d: text after # EOF", in.Name, line)
		case text == "# EOF":
			ended = true
			continue
		case strings.HasPrefix(text, "#"):
			continue
		}
		ls, t, v, err := p.sample(text)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", in.Name, line, err)
		}
		if !im.o.Latest.IsZero() && t > im.o.Latest.UnixMilli() {
			return fmt.Errorf("%s:%d: series %s: the sample of %s lies in the future", in.Name, line, ls, time.UnixMilli(t).UTC().Format(time.RFC3339))
		}
		key = ls.Bytes(key)
		id, ok := im.ids[string(key)]
		if !ok {
			id = uint64(len(im.series))
			im.ids[string(key)] = id
			im.series = append(im.series, ls.Copy())
		}
		im.oldest, im.newest = min(im.oldest, t), max(im.newest, t)
		if err := im.spill.add(entry{series: id, t: t, v: v, file: n, line: line}); err != nil {
			return fmt.Errorf("%s:%d: %w", in.Name, line, err)
		}
	}
}

// block makes one block of a window's samples.
func (im *importer) block(ctx context.Context, w *window) (err error) {
	// The writer takes samples up to half of its range back, so it is given
	// twice the range that it has to hold.
	out, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), im.o.Into, 2*im.spill.width)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	refs := map[uint64]storage.SeriesRef{}
	app, held := out.Appender(ctx), 0
	var last entry
	err = im.spill.each(w, func(e entry) error {
		if held > 0 && e.series == last.series && e.t == last.t {
			if math.Float64bits(e.v) == math.Float64bits(last.v) {
				return nil
			}
			return fmt.Errorf("%s:%d: series %s: another value at the time of %s:%d", im.names[e.file].Name, e.line, im.series[e.series], im.names[last.file].Name, last.line)
		}
		last = e
		ref, err := app.Append(refs[e.series], im.series[e.series], e.t, e.v)
		if err != nil {
			return fmt.Errorf("%s:%d: series %s: %w", im.names[e.file].Name, e.line, im.series[e.series], err)
		}
		refs[e.series] = ref
		im.samples++
		if held++; held%batch > 0 {
			return nil
		}
		err = app.Commit()
		app = out.Appender(ctx)
		return err
	})
	if err != nil {
		return errors.Join(err, app.Rollback())
	}
	if err := app.Commit(); err != nil {
		return err
	}
	id, err := out.Flush(ctx)
	if err != nil {
		return err
	}
	return markLate(filepath.Join(im.o.Into, id.String(), "meta.json"))
}

// markLate marks a block as made of late samples. A store replays of its log
// what is newer than its newest block that is not marked so.
func markLate(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var meta tsdb.BlockMeta
	if err := json.Unmarshal(raw, &meta); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	meta.Compaction.SetOutOfOrder()
	if raw, err = json.MarshalIndent(&meta, "", "\t"); err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o666)
}
