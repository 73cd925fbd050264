package forward_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb/wlog"

	"nocturne/internal/need"
	"nocturne/tsdb/forward"
)

// TestDamagedPosition damages one or both copies of a position between two
// runs.
func TestDamagedPosition(t *testing.T) {
	t.Parallel()
	_, random := need.Seed(t)
	flip := func(t *testing.T, path string) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// Within the line: the padding behind it means nothing.
		data[random.IntN(len(bytes.TrimRight(data, " \n")))] ^= 1 << random.IntN(8)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(*testing.T, [2]string){
		"first copy":  func(t *testing.T, files [2]string) { flip(t, files[0]) },
		"second copy": func(t *testing.T, files [2]string) { flip(t, files[1]) },
		"both":        func(t *testing.T, files [2]string) { flip(t, files[0]); flip(t, files[1]) },
		"emptied": func(t *testing.T, files [2]string) {
			for _, f := range files {
				if err := os.Truncate(f, 0); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, dir := newFake(t), t.TempDir()
			to := forward.Receiver{Name: "one", URL: r.URL}
			h := openHouse(t, dir, to)
			first := polls(20, hoursAgo(2), hoursAgo(0.5))
			h.append(t, first)
			r.lacks(t, first, 60*time.Second)
			h.stop()
			damage(t, forward.PositionFiles(filepath.Join(dir, "forward"), "one"))
			all := name == "both" || name == "emptied"
			again := newFake(t)
			to.URL = again.URL
			var said bytes.Buffer
			h = openLogging(t, dir, slog.New(slog.NewTextHandler(&said, nil)), to)
			more := polls(20, hoursAgo(0.5), hoursAgo(0))
			h.append(t, more)
			want := more
			if all {
				want = append(first, more...)
			}
			again.lacks(t, want, 60*time.Second)
			h.stop()
			if !strings.Contains(said.String(), "is damaged") || all != strings.Contains(said.String(), "all samples held are sent again") {
				t.Errorf("said: %s", said.String())
			}
		})
	}
}

// TestCutLog loses the end of the log in a power cut, or the whole of it, so
// that other samples stand where the position points to.
func TestCutLog(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*testing.T, string, int){
		"shorter": func(t *testing.T, wal string, last int) {
			path := wlog.SegmentName(wal, last)
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, st.Size()/2); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(t *testing.T, wal string, _ int) {
			if err := os.RemoveAll(wal); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, dir := newFake(t), t.TempDir()
			to := forward.Receiver{Name: "one", URL: r.URL}
			h := openHouse(t, dir, to)
			first := polls(20, hoursAgo(0.4), hoursAgo(0.3))
			h.append(t, first)
			r.lacks(t, first, 60*time.Second)
			h.stop()
			had := segments(t, h.db.LogDir())
			cut(t, h.db.LogDir(), had[len(had)-1])
			h = openHouse(t, dir, to)
			more := polls(35, hoursAgo(0.3), hoursAgo(0))
			h.append(t, more)
			r.lacks(t, more, 60*time.Second)
		})
	}
}

// TestBackfill gives a new receiver some of the past.
func TestBackfill(t *testing.T) {
	t.Parallel()
	r, dir := newFake(t), t.TempDir()
	h := openHouse(t, dir)
	past := polls(20, hoursAgo(3), hoursAgo(0))
	h.append(t, past)
	h.stop()
	openHouse(t, dir, forward.Receiver{Name: "new", URL: r.URL, Backfill: 2 * time.Hour})
	since, want := hoursAgo(2).Add(time.Minute).UnixMilli(), past[:0]
	for _, s := range past {
		if s.T >= since {
			want = append(want, s)
		}
	}
	r.lacks(t, want, 60*time.Second)
	if most := len(past) * 3 / 4; r.count() > most {
		t.Errorf("%d samples came of %d", r.count(), len(past))
	}
}
