package backup_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/internal/backup"
	"nocturne/internal/backup/disk"
	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

// item is a record of these tests.
type item struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

// estate is an open data folder.
type estate struct {
	data    string
	state   *state.DB
	ledger  *ledger.Chain
	history *tsdb.DB
	items   *state.Table[item]
}

const (
	series = 40
	first  = 1_700_000_000_000 // ms, of the first sample
)

// openEstate opens or makes one. Its blocks are of twenty minutes.
func openEstate(data string) (*estate, error) {
	e := &estate{data: data}
	var err error
	if e.state, err = state.Open(state.Options{Dir: filepath.Join(data, "state"), Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	if e.ledger, err = ledger.Open(e.state); err != nil {
		return nil, err
	}
	e.items = state.NewTable[item](e.state, "item", 1)
	e.history, err = tsdb.Open(tsdb.Options{Dir: filepath.Join(data, "history"), Interval: 5 * time.Second, Retention: 200_000 * time.Hour, Log: slog.New(slog.DiscardHandler)})
	return e, err
}

func newEstate(t *testing.T, data string) *estate {
	t.Helper()
	e, err := openEstate(data)
	check(t, err)
	t.Cleanup(func() { e.close(t) })
	return e
}

func (e *estate) close(t *testing.T) {
	t.Helper()
	e.rest(t)
	if e.state != nil {
		check(t, e.state.Close())
	}
	e.state = nil
}

// rest closes the history alone, whose blocks then stay as they are.
func (e *estate) rest(t *testing.T) {
	t.Helper()
	if e.history != nil {
		check(t, e.history.Close())
	}
	e.history = nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (e *estate) source() backup.Source {
	return backup.Source{Data: e.data, State: e.state, Ledger: e.ledger, History: filepath.Join(e.data, "history"),
		KeyFile: filepath.Join(e.data, "master.key"), Program: "test",
		Configuration: func() ([]backup.Text, error) {
			return []backup.Text{{Name: "etc/nocturne.yaml", Data: []byte("data: x\n")}}, nil
		}}
}

// samples appends the samples from n on up to m, ten seconds between two of a
// series.
func (e *estate) samples(n, m int) error {
	for n < m {
		batch := make([]tsdb.Sample, 0, series)
		for len(batch) < series && n < m {
			batch = append(batch, sample(n))
			n++
		}
		if r, err := e.history.Append(context.Background(), batch); err != nil || r.Appended != len(batch) {
			return fmt.Errorf("%+v: %w", r, err)
		}
	}
	return e.history.Synced(context.Background())
}

func sample(n int) tsdb.Sample {
	return tsdb.Sample{Labels: labels.FromStrings("__name__", "s", "n", strconv.Itoa(n%series)), T: first + int64(n/series)*10_000, V: float64(n)}
}

// records writes items, changes and deletes some, and notes each in the ledger.
func (e *estate) records(from, to int) error {
	for i := from; i < to; i++ {
		id := fmt.Sprint("item-", i)
		if _, err := e.items.Put(id, item{id, i}, 0); err != nil {
			return err
		}
		if i%3 == 2 {
			if err := e.items.Delete(fmt.Sprint("item-", i-1), 0); err != nil {
				return err
			}
		}
		if _, err := e.ledger.Append(ledger.Entry{Kind: ledger.Audit, Actor: "system", Action: "item.put", Subject: id, Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}); err != nil {
			return err
		}
	}
	return nil
}

// awaitBlock waits until the history has written one; it does so by itself.
func (e *estate) awaitBlock(t *testing.T) {
	t.Helper()
	need.Until(t, "a block is written", func() bool {
		found, err := filepath.Glob(filepath.Join(e.data, "history", "01*", "meta.json"))
		return err == nil && len(found) > 0
	})
}

// everything is what a data folder holds, read by its own packages.
type everything struct {
	Items  map[string]item
	Ledger []ledger.Entry
	Series map[string][]string // time and value of each sample
}

func (e *estate) everything(t *testing.T) everything {
	t.Helper()
	all := everything{Items: map[string]item{}, Series: map[string][]string{}}
	for r, err := range e.items.All("") {
		check(t, err)
		all.Items[r.ID] = r.Value
	}
	for x, err := range e.ledger.Read(1) {
		check(t, err)
		all.Ledger = append(all.Ledger, x)
	}
	q, err := e.history.Queryable().Querier(0, 1<<50)
	check(t, err)
	defer q.Close()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for set.Next() {
		var points []string
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			at, v := it.At()
			points = append(points, fmt.Sprint(at, " ", v))
		}
		check(t, it.Err())
		all.Series[set.At().Labels().String()] = points
	}
	check(t, set.Err())
	return all
}

// mustEqual holds a restored folder against what the original was. The last
// entry of its ledger tells of the restore.
func mustEqual(t *testing.T, want, got everything) {
	t.Helper()
	if n := len(got.Ledger); n == 0 || got.Ledger[n-1].Action != "backup.restored" {
		t.Fatalf("the restored ledger of %d entries does not say that it was restored", n)
	}
	got.Ledger = got.Ledger[:len(got.Ledger)-1]
	if d := cmp.Diff(want.Items, got.Items); d != "" {
		t.Errorf("items (-want +got):\n%.1500s", d)
	}
	if d := cmp.Diff(want.Ledger, got.Ledger); d != "" {
		t.Errorf("ledger (-want +got):\n%.1500s", d)
	}
	if !maps.EqualFunc(want.Series, got.Series, slices.Equal) {
		t.Errorf("series differ: %d and %d", len(want.Series), len(got.Series))
	}
}

func toDisk(t *testing.T, dir string) *disk.Store {
	t.Helper()
	s, err := disk.Make(dir)
	check(t, err)
	t.Cleanup(func() { _ = s.Close() }) // some are closed in the test
	return s
}

func whole(t *testing.T, e *estate, to backup.Store) backup.Report {
	t.Helper()
	r, err := backup.MakeWhole(t.Context(), e.source(), to, backup.Options{})
	check(t, err)
	return r
}

func point(t *testing.T, e *estate, to backup.Store, after backup.Mark) backup.Report {
	t.Helper()
	r, err := backup.MakePoint(t.Context(), e.source(), to, after, backup.Options{})
	check(t, err)
	return r
}

func restore(t *testing.T, from backup.Store, at time.Time) *estate {
	t.Helper()
	into := filepath.Join(t.TempDir(), "restored")
	_, err := backup.Restore(t.Context(), from, backup.RestoreOptions{At: at, Into: into})
	check(t, err)
	return newEstate(t, into)
}

func filesUnder(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	check(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, p)
		}
		return err
	}))
	return all
}
