package tsdb_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// TestLives leads one store through many lives, each ended by kill -9 while
// samples come in and blocks are written, merged, rolled up, deleted and
// cleaned. After each the store opens without a loss, and holds what was
// acknowledged once: as raw samples, or beyond their retention as buckets.
func TestLives(t *testing.T) {
	seed, r := need.Seed(t)
	rounds := 6
	if testing.Short() { // the race detector looks at the child as well
		rounds = 2
	}
	if n, err := strconv.Atoi(os.Getenv("NOCTURNE_ROUNDS")); err == nil {
		rounds = n
	}
	o := &livesOracle{seed: seed, state: map[int][]byte{}, did: map[string]int{}}
	dir, hits := filepath.Join(t.TempDir(), "data"), map[string]int{}
	for n := range rounds {
		l := life{Dir: dir, Seed: seed, N: uint64(n)}
		o.first = -1
		start := time.Now()
		kinds := lead(t, l, r, o)
		lived := time.Since(start).Round(time.Millisecond)
		for _, k := range kinds {
			hits[k]++
		}
		start = time.Now()
		checked := o.check(t, dir)
		t.Logf("life %d of %s: killed during %q; %s in %s", n, lived, kinds, checked, time.Since(start).Round(time.Millisecond))
		if t.Failed() {
			return
		}
	}
	t.Logf("%d lives, done: %v; hits: %v; %d samples acknowledged, none lost, none doubled, %d found that were not acknowledged, %d deleted; %d buckets compared",
		rounds, o.did, hits, o.acked, o.adopted, o.deleted, o.buckets)
	if rounds >= 6 && len(hits) < 4 {
		t.Errorf("the kills hit only %v", slices.Collect(maps.Keys(hits)))
	}
	for i, k := range livesKinds {
		if (rounds >= 20 || i < livesAlways && !testing.Short()) && o.did[k] == 0 {
			t.Errorf("%d lives had no %s", rounds, k)
		}
	}
}

// livesKinds are what has to happen in the lives of a long run, the first
// livesAlways in those of any.
var livesKinds = []string{
	"head block", "late block", "raw merge", "head truncation", "checkpoint", "rollup", "raw retention",
	"tier merge", "tier retention", "deletion", "cleaning of a raw block", "cleaning of a tier block",
}

const livesAlways = 7

// moments are marks of the child at which a life may end, and up to the how
// many-th. Deletion has none of the library's: chance finds it.
var moments = []struct {
	mark string
	most int
}{
	{"begin head block", 8}, {"begin late block", 3}, {"begin raw merge", 4}, {"begin head truncation", 4}, {"begin checkpoint", 2},
	{"begin rollup", 6}, {"begin tier merge", 1}, {"begin tier merge", 1}, {"begin cleaning of a tier block", 1},
	{"phase compaction", 4}, {"phase rollup", 4}, {"phase retention", 3}, {"phase rollup again", 1}, {"phase cleaning", 2}, {"phase deletion", 1},
}

// lead starts a life and kills it at a moment by chance: in most lives soon
// after a mark, so that short phases are hit as well. It returns what was
// under way.
func lead(t *testing.T, l life, r *rand.Rand, o *livesOracle) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	grow := l.N == 0 && !testing.Short() // to where blocks go, which takes 30 hours of samples
	moment := moments[r.IntN(len(moments))]
	mark, marks := moment.mark, 1+r.IntN(moment.most)
	l.Deletes = l.N%2 == 1 || mark == "phase deletion"
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), envLife+"="+string(text), "GORACE=halt_on_error=1")
	said := &strings.Builder{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = cmd.Process.Kill() }
	after := func(n time.Duration) { time.AfterFunc(time.Duration(r.Int64N(int64(n))), kill) }
	most := 6 * time.Second // where the mark does not come
	if grow {
		most = 2 * time.Minute
	}
	lives := time.AfterFunc(most, kill)
	defer lives.Stop()
	switch {
	case grow:
		mark, marks = "did raw retention", 1
	case l.N%10 == 7: // while it opens
		after(150 * time.Millisecond)
		mark = ""
	case l.N%4 == 3:
		after(2 * time.Second)
		mark = ""
	}
	phase, begun, ready := "none", map[string]int{}, false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		what, rest, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "ready":
			ready = true
			if o.first, err = strconv.Atoi(rest); err != nil {
				t.Fatal(err)
			}
		case "phase":
			phase = rest
		case "begin":
			begun[rest]++
		case "end":
			begun[rest]--
		case "did":
			o.did[rest]++
		default:
			if err := o.hear(what, rest); err != nil {
				t.Fatalf("%v; the child said %s", err, said)
			}
		}
		if mark != "" && lines.Text() == mark {
			if marks--; marks == 0 {
				after(6 * time.Millisecond)
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the child ended by itself: %v; %s", err, said)
	}
	if !ready {
		return []string{"opening"}
	}
	return hitBy(l.Dir, phase, begun)
}

// hitBy says what a kill interrupted by what was begun and not ended, and by
// what it left behind.
func hitBy(dir, phase string, begun map[string]int) (kinds []string) {
	for what, n := range begun {
		if n > 0 {
			kinds = append(kinds, what)
		}
	}
	for pattern, what := range map[string]string{"rollup-*/*.tmp-for-deletion": "deletion of a tier block", "*.tmp-for-deletion": "deletion of a raw block"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
			kinds = append(kinds, what)
		}
	}
	if phase != "none" {
		kinds = append(kinds, "phase "+phase)
	}
	if len(kinds) == 0 {
		kinds = []string{"appending alone"}
	}
	return kinds
}

// What the oracle knows of a tick of a series.
const (
	unknown byte = iota // not acknowledged
	there
	deleting // and the deletion not acknowledged
	gone
)

// livesOracle knows what the store shall hold.
type livesOracle struct {
	seed    uint64
	state   map[int][]byte // by series and tick
	deletes [][3]int       // all: series, first and last tick
	pending *[3]int        // deletion begun and not acknowledged
	first   int            // tick of the present life; -1 before it was ready

	did map[string]int // how often what was done to its end

	acked, adopted, deleted, buckets int
}

func (o *livesOracle) at(s, k int) *byte {
	for len(o.state[s]) <= k {
		o.state[s] = append(o.state[s], make([]byte, 1000)...)
	}
	return &o.state[s][k]
}

// hear takes in what a child says.
func (o *livesOracle) hear(what, rest string) error {
	if what == "error" || what == "panic:" {
		return fmt.Errorf("%s %s", what, rest)
	}
	words := strings.Fields(rest)
	ints := make([]int, len(words))
	for i, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil {
			return fmt.Errorf("%s %q: %w", what, rest, err)
		}
		ints[i] = n
	}
	switch what {
	case "committed":
		for pair := range slices.Chunk(ints, 2) {
			*o.at(pair[0], pair[1]) = there
			o.acked++
		}
	case "deleting":
		o.pending = (*[3]int)(ints)
		o.mark(there, deleting)
	case "deleted":
		o.mark(deleting, gone)
		o.deletes, o.pending = append(o.deletes, *o.pending), nil
	default:
		return fmt.Errorf("the child said %q %q", what, rest)
	}
	return nil
}

// mark gives ticks of the pending deletion another state.
func (o *livesOracle) mark(from, to byte) {
	for k := max(0, o.pending[1]); k <= o.pending[2]; k++ {
		if at := o.at(o.pending[0], k); *at == from {
			*at = to
			if to == gone {
				o.deleted++
			}
		}
	}
}

// check opens the store and holds it against the oracle.
func (o *livesOracle) check(t *testing.T, dir string) string {
	t.Helper()
	db, err := tsdb.Open(livesOptions(dir, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if s := db.Stats(); len(s.Lost) > 0 || len(s.SetAside) > 0 {
		t.Errorf("lost %+v, set aside %q", s.Lost, s.SetAside)
	}
	n := o.raw(t, db)
	if o.pending != nil { // a user would do it again
		p := *o.pending
		if err := deleteTicks(db, p[0], p[1], p[2]); err != nil {
			t.Fatal(err)
		}
		o.mark(deleting, gone)
		o.deletes, o.pending = append(o.deletes, p), nil
		o.raw(t, db)
	}
	before := o.buckets
	o.tiers(t, db, dir)
	o.query(t, db)
	st := db.Stats()
	if st.Blocks > 30 { // lives are too short to work off what piles up
		if err := errors.Join(db.Compact(t.Context()), db.RollUp(t.Context()), db.Expire(t.Context())); err != nil {
			t.Error(err)
		}
	}
	return fmt.Sprintf("%d blocks, %d raw samples from %s to %s, tiers of %d and %d blocks, %d buckets", st.Blocks, n,
		st.MinTime.Format("01-02 15:04"), st.MaxTime.Format("01-02 15:04"), st.Tiers[0].Blocks, st.Tiers[1].Blocks, o.buckets-before)
}

// want is what there is to be in each bucket of a width, by series and end.
func (o *livesOracle) want(width int64) map[[2]int64]livesBucket {
	all := map[[2]int64]livesBucket{}
	for s, states := range o.state {
		for k, state := range states {
			if state == there {
				key := livesKey(s, livesTime(s, k), width)
				b := all[key]
				b.add(livesValue(o.seed, s, k))
				all[key] = b
			}
		}
	}
	for _, d := range o.deletes {
		last := livesKey(d[0], livesTime(d[0], d[2]), width)
		for key := livesKey(d[0], livesTime(d[0], d[1]), width); key[1] <= last[1]; key[1] += width {
			b := all[key]
			b.touched = true
			all[key] = b
		}
	}
	return all
}

// livesKey names the bucket that holds time t.
func livesKey(s int, t, width int64) [2]int64 {
	return [2]int64{int64(s), (t + width - 1) / width * width}
}

// livesBucket is touched when any of its time was deleted: then it may be gone
// as well as hold what is left.
type livesBucket struct {
	count, sum, min, max float64
	touched              bool
}

// holds says whether got, if there is any, is what b shall be.
func (b livesBucket) holds(got livesBucket, ok bool) bool {
	got.touched = b.touched
	return got == b || !ok && b.touched
}

func (b *livesBucket) add(v float64) {
	if math.IsNaN(v) {
		return
	}
	if b.count == 0 {
		b.min, b.max = v, v
	}
	b.count++
	b.sum += v
	b.min, b.max = min(b.min, v), max(b.max, v)
}
