package tsdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/model/labels"
	stale "github.com/prometheus/prometheus/model/value"

	"nocturne/tsdb"
)

// envLife tells a child of TestLives which life it is to lead.
const envLife = "NOCTURNE_TSDB_LIFE"

type life struct {
	Dir     string
	Seed    uint64 // of all lives
	N       uint64
	Deletes bool
}

const (
	livesStep   = 120_000 // ms between two samples of a series
	livesHour   = 3_600_000 / livesStep
	livesPace   = 6 * livesHour // ticks between two tidyings
	livesCome   = 6 * livesHour // and between two series that come and go
	livesSteady = 16            // series that are always there
	livesBatch  = 5             // ticks
	livesRaw    = 30 * time.Hour
	livesFive   = 2 * 24 * time.Hour
)

// livesStart is the time of tick 0, a full hour.
var livesStart = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// livesOptions cut blocks of an hour, which are merged to three. The tiers'
// blocks of five minutes are merged at each day's end.
func livesOptions(dir string, log *slog.Logger) tsdb.Options {
	o := tsdb.SmallSegments(tsdb.Options{
		Dir: dir, Log: log, Retention: livesRaw, FiveMin: tsdb.Keep{Age: livesFive}, MaxAhead: -1, MaxAge: -1,
	})
	o.Interval = 15 * time.Second
	return o
}

// livesActive says whether series s has a sample at tick k: besides those that
// are always there, one more begins every six hours and goes after nine.
func livesActive(s, k int) bool {
	first := (s - livesSteady) * livesCome
	return k >= 0 && (s < livesSteady || k >= first && k < first+livesCome*3/2)
}

func livesSeries(k int) (all []int) {
	for s := range livesSteady + k/livesCome + 1 {
		if livesActive(s, k) {
			all = append(all, s)
		}
	}
	return all
}

func livesTime(s, k int) int64 {
	return livesStart + int64(k)*livesStep + int64(s*1013%livesStep) // that of series 0 ends buckets
}

// livesValue is a sixteenth of a whole number, so that sums are exact, or a
// staleness marker.
func livesValue(seed uint64, s, k int) float64 {
	r := rand.NewPCG(seed+uint64(s), uint64(k))
	r.Uint64()
	x := r.Uint64()
	if x%61 == 0 {
		return math.Float64frombits(stale.StaleNaN)
	}
	return float64(int64(x>>40)-1<<23) / 16
}

func livesLabels(s int) labels.Labels {
	return labels.FromStrings("__name__", "m", "n", strconv.Itoa(s))
}

// telling passes on what the library says it does.
type telling struct{ say func(...any) }

func (telling) Enabled(context.Context, slog.Level) bool { return true }
func (h telling) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h telling) WithGroup(string) slog.Handler          { return h }

func (h telling) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		h.say("error", r.Message)
	}
	switch r.Message {
	case "Head GC started":
		h.say("begin", "head truncation")
	case "Creating checkpoint":
		h.say("begin", "checkpoint")
	case "Head GC completed":
		h.say("end", "head truncation")
		h.say("did", "head truncation")
	case "WAL checkpoint complete":
		h.say("end", "checkpoint")
		h.say("did", "checkpoint")
	case "write block completed", "compact blocks":
		h.say("did", writing())
	}
	return nil
}

// writing names the work for which a block is written, of the store or the
// library, by the functions that its caller is in.
func writing() string {
	var pcs [48]uintptr
	for frames, more := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])]), true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		switch f.Function[strings.LastIndex(f.Function, "/")+1:] {
		case "rollup.(*Tier).Write":
			return "rollup"
		case "rollup.(*Tier).Merge":
			return "tier merge"
		case "rollup.(*Tier).CleanTombstones":
			return "cleaning of a tier block"
		case "tsdb.(*Block).CleanTombstones":
			return "cleaning of a raw block"
		case "tsdb.(*DB).compactOOO":
			return "late block"
		case "tsdb.(*DB).compactBlocks":
			return "raw merge"
		case "tsdb.(*DB).compactHead":
			return "head block"
		}
	}
	return "block for nobody"
}

// liveChild leads a life until it is killed, if this process is for that.
func liveChild() {
	text := os.Getenv(envLife)
	if text == "" {
		return
	}
	var l life
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		panic(err)
	}
	var mu sync.Mutex
	say := func(words ...any) { // one write each: a kill cuts at most the last
		mu.Lock()
		defer mu.Unlock()
		if _, err := fmt.Println(words...); err != nil {
			panic(err)
		}
	}
	o := livesOptions(l.Dir, slog.New(telling{say}))
	o.Compacting = func() func() {
		what := writing()
		say("begin", what)
		return func() { say("end", what) }
	}
	db, err := tsdb.Open(o)
	if err != nil {
		panic(err)
	}
	next := 0
	if last := db.Stats().MaxTime; !last.IsZero() {
		next = int((last.UnixMilli()-livesStart)/livesStep) + 1
	}
	say("ready", next)
	c := &living{life: l, db: db, say: say, pace: make(chan int, 1)}
	go func() { panic(db.Run(context.Background())) }()
	go c.tidy(rand.New(rand.NewPCG(l.Seed, 2*l.N)))
	c.write(next)
}

type living struct {
	life
	db   *tsdb.DB
	say  func(...any)
	pace chan int // the tick that tidying is done up to
}

// write appends from tick next on, at most twelve hours ahead of the tidying.
// The two halves are never more than a batch apart, or what is late would be
// too late.
func (c *living) write(next int) {
	held := [2]map[int][][2]int{{}, {}} // late samples by the tick at which they come
	for hour := next; ; {
		var both sync.WaitGroup
		for half := range 2 {
			src := c.db.Source([]string{"even", "odd"}[half])
			both.Go(func() {
				c.append(src, half, next, held[half])
			})
		}
		both.Wait()
		if next += livesBatch; next-hour >= livesPace {
			hour = next
			c.pace <- next
		}
	}
}

// append commits a batch of ticks of half of the series and says so. Every
// twentieth sample comes up to 16 minutes later.
func (c *living) append(src *tsdb.Source, half, first int, held map[int][][2]int) {
	var all [][2]int
	for k := range livesBatch {
		k += first
		for _, s := range livesSeries(k) {
			switch x := rand.NewPCG(c.Seed, uint64(s*1_000_003+k)).Uint64(); {
			case s%2 != half:
			case x%20 == 0:
				at := k + 1 + int(x/20%8)
				held[at] = append(held[at], [2]int{s, k})
			default:
				all = append(all, [2]int{s, k})
			}
		}
		all = append(all, held[k]...)
		delete(held, k)
	}
	b, err := src.Begin(context.Background())
	if err != nil {
		panic(err)
	}
	for _, x := range all {
		b.Append(livesLabels(x[0]), livesTime(x[0], x[1]), livesValue(c.Seed, x[0], x[1]))
	}
	r, err := b.Commit()
	if err != nil || r.Appended != len(all) {
		panic(fmt.Sprint(r, err, b.Rejections()))
	}
	c.say("committed", strings.Trim(strings.ReplaceAll(fmt.Sprint(all), "] [", " "), "[]"))
}

// tidy does what the store does now and then, all the time.
func (c *living) tidy(r *rand.Rand) {
	ctx := context.Background()
	do := func(what string, f func(context.Context) error) {
		c.say("phase", what)
		if err := f(ctx); err != nil {
			panic(fmt.Sprint(what, ": ", err))
		}
		c.say("phase", "none")
	}
	expired, oldest := metrics.GetOrCreateCounter(`nocturne_tsdb_rollup_blocks_expired_total{tier="5m"}`), c.db.Stats().MinTime
	for k := range c.pace {
		before := expired.Get()
		if c.Deletes {
			s, from := r.IntN(livesSteady), k-livesHour/2-r.IntN(16*livesHour)
			to := min(k-livesHour/2, from+r.IntN(2*livesHour))
			c.say("deleting", s, from, to)
			do("deletion", func(context.Context) error { return deleteTicks(c.db, s, from, to) })
			c.say("deleted", s, from, to)
			c.say("did", "deletion")
			do("cleaning", c.db.CleanTombstones) // before a merge does it
		}
		do("compaction", c.db.Compact)
		if r.IntN(2) == 0 {
			do("compaction of late samples", c.db.CompactLate)
		}
		do("rollup", c.db.RollUp)
		do("retention", c.db.Expire)
		if at := c.db.Stats().MinTime; at.After(oldest) {
			if !oldest.IsZero() {
				c.say("did", "raw retention")
			}
			oldest = at
		}
		if expired.Get() > before {
			c.say("did", "tier retention")
		}
		if r.IntN(2) == 0 {
			do("cleaning", c.db.CleanTombstones)
		}
		if r.IntN(4) == 0 {
			do("rollup again", func(context.Context) error { return c.again(k - r.IntN(8*livesHour)) })
		}
	}
}

// again rolls up three hours anew. Where raw samples have expired it may not.
func (c *living) again(k int) error {
	from := time.UnixMilli(livesTime(0, k))
	err := c.db.Rollup(context.Background(), from, from.Add(3*time.Hour), nil)
	if err != nil && strings.Contains(err.Error(), "expired in part") {
		return nil
	}
	return err
}

// deleteTicks deletes the samples of series s from tick from to tick to.
func deleteTicks(db *tsdb.DB, s, from, to int) error {
	name, err := labels.NewMatcher(labels.MatchEqual, "__name__", "m")
	n, err2 := labels.NewMatcher(labels.MatchEqual, "n", strconv.Itoa(s))
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	return db.Delete(context.Background(), []*labels.Matcher{name, n}, time.UnixMilli(livesTime(s, from)), time.UnixMilli(livesTime(s, to)))
}
