package benchtsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"
	libtsdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"

	"nocturne/tsdb"
)

const childVariable = "NOCTURNE_BENCH_CHILD"

// childSpec tells a child process what to append and with which store.
type childSpec struct {
	Engine        string // nocturne, library
	Dir           string
	Series, Steps int
	Start         time.Time
	Profile       string // file for a CPU profile; none when empty
}

// childResult is what a child found out. CPU is of the appends after the first
// interval, with the blocks that were written meanwhile, without what the
// values cost to make.
type childResult struct {
	Samples       int
	CPU, Creating time.Duration
	Blocks        int
	Peak          float64 // VmHWM, bytes
}

// engine is a store under test. scrape stores one interval of a target.
type engine interface {
	scrape(first int, times []int64, values []float64) error
	blocks() int
	close() error
}

// inChild runs spec in a process of its own.
func inChild(t *testing.T, spec childSpec) childResult {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), childVariable+"="+string(text)), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("append with %s: %v", spec.Engine, err)
	}
	var r childResult
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("append with %s: %v: %q", spec.Engine, err, out)
	}
	return r
}

func runChild(text string) (err error) {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	f := newFleet(spec.Series)
	open := map[string]func(childSpec, *fleet) (engine, error){"nocturne": openOurs, "library": openLibrary}[spec.Engine]
	if open == nil {
		return fmt.Errorf("there is no engine %q", spec.Engine)
	}
	e, err := open(spec, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	r, err := spec.measure(f, e)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func (spec childSpec) measure(f *fleet, e engine) (r childResult, err error) {
	began := ownCPU()
	if err := spec.appendStep(f, 0, e.scrape); err != nil {
		return r, err
	}
	r.Creating = ownCPU() - began
	runtime.GC() // what opening and the new series left is not the appends'
	if spec.Profile != "" {
		to, err := os.Create(spec.Profile)
		if err != nil {
			return r, err
		}
		defer to.Close()
		if err := pprof.StartCPUProfile(to); err != nil {
			return r, err
		}
		defer pprof.StopCPUProfile()
	}
	making := spec.making(f)
	began = ownCPU()
	for k := 1; k < spec.Steps; k++ {
		if err := spec.appendStep(f, k, e.scrape); err != nil {
			return r, err
		}
	}
	if spec.Steps >= wholeRun { // the block is part of the work
		for end := time.Now().Add(10 * time.Minute); e.blocks() == 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				return r, fmt.Errorf("%s has no block after %d intervals", spec.Engine, spec.Steps)
			}
		}
	}
	r.CPU = ownCPU() - began - making
	r.Samples, r.Blocks = spec.Series*(spec.Steps-1), e.blocks()
	r.Peak, err = memoryOf(os.Getpid(), "VmHWM")
	return r, err
}

// making is what the values of all intervals but the first cost to make, by
// those of a few.
func (spec childSpec) making(f *fleet) time.Duration {
	const some = 5
	began := ownCPU()
	for k := range some {
		_ = spec.appendStep(f, k, func(int, []int64, []float64) error { return nil })
	}
	return (ownCPU() - began) * time.Duration(spec.Steps-1) / some
}

// appendStep hands interval k of each target to scrape.
func (spec childSpec) appendStep(f *fleet, k int, scrape func(int, []int64, []float64) error) error {
	var times [ofTarget]int64
	var values [ofTarget]float64
	for first := 0; first < len(f.labels); first += ofTarget {
		n := min(ofTarget, len(f.labels)-first)
		for i := range n {
			times[i], values[i] = at(spec.Start, first+i, k), f.value(first+i, k)
		}
		if err := scrape(first, times[:n], values[:n]); err != nil {
			return fmt.Errorf("append interval %d: %w", k, err)
		}
	}
	return nil
}

// library is the bare store as Prometheus opens it, appended to as Prometheus
// scrapes: with the reference that each series had the time before.
type library struct {
	db   *libtsdb.DB
	f    *fleet
	refs []storage.SeriesRef
}

func openLibrary(spec childSpec, f *fleet) (engine, error) {
	o := libtsdb.DefaultOptions()
	o.WALCompression = compression.Snappy
	o.RetentionDuration = (400 * 24 * time.Hour).Milliseconds()
	db, err := libtsdb.Open(spec.Dir, quiet(), nil, o, nil)
	if err != nil {
		return nil, err
	}
	return &library{db, f, make([]storage.SeriesRef, len(f.labels))}, nil
}

func (l *library) scrape(first int, times []int64, values []float64) error {
	app := l.db.Appender(context.Background())
	for i := range times {
		n := first + i
		ref, err := app.Append(l.refs[n], l.f.labels[n], times[i], values[i])
		if err != nil {
			return errors.Join(err, app.Rollback())
		}
		l.refs[n] = ref
	}
	return app.Commit()
}

func (l *library) blocks() int  { return len(l.db.Blocks()) }
func (l *library) close() error { return l.db.Close() }

// ours is tsdb.DB, with the syncs of its log.
type ours struct {
	db   *tsdb.DB
	src  *tsdb.Source
	f    *fleet
	refs []uint64
	stop context.CancelFunc
	done chan error
}

func openOurs(spec childSpec, f *fleet) (engine, error) {
	db, err := tsdb.Open(tsdb.Options{Dir: spec.Dir, Interval: interval, Retention: 400 * 24 * time.Hour, Log: quiet()})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	o := &ours{db: db, src: db.Source("bench"), f: f, refs: make([]uint64, len(f.labels)), stop: stop, done: make(chan error, 1)}
	go func() { o.done <- db.Run(ctx) }()
	return o, nil
}

func (o *ours) scrape(first int, times []int64, values []float64) error {
	b, err := o.src.Begin(context.Background())
	if err != nil {
		return err
	}
	for i := range times {
		n := first + i
		if o.refs[n] == 0 || !b.AppendRef(o.refs[n], times[i], values[i]) {
			o.refs[n] = b.Append(o.f.labels[n], times[i], values[i])
		}
	}
	r, err := b.Commit()
	if err == nil && r.Appended != len(times) {
		err = fmt.Errorf("of %d samples: %+v", len(times), r)
	}
	return err
}

func (o *ours) blocks() int { return o.db.Stats().Blocks }

func (o *ours) close() error {
	o.stop()
	return errors.Join(<-o.done, o.db.Close())
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

// TestChild appends a little with both engines and finds the same samples. So
// little tells nothing of the CPU time that it took.
func TestChild(t *testing.T) {
	var got []childResult
	for _, engine := range []string{"library", "nocturne"} {
		spec := childSpec{Engine: engine, Dir: filepath.Join(t.TempDir(), engine), Series: ofTarget, Steps: wholeRun, Start: startOf(wholeRun)}
		got = append(got, inChild(t, spec))
		bytes, samples, err := blocksIn(spec.Dir)
		// Two hours of two intervals a minute; each target keeps its own beat.
		if want := int64(ofTarget * 2 * 120); err != nil || samples < want-ofTarget || samples > want || bytes == 0 {
			t.Errorf("%s: blocks hold %d samples in %d bytes, want %d: %v", engine, samples, bytes, want, err)
		}
	}
	if got[0].Samples != got[1].Samples || got[0].Blocks != 1 || got[1].Blocks != 1 || got[0].Peak == 0 || got[1].Peak == 0 {
		t.Errorf("%+v", got)
	}
}
