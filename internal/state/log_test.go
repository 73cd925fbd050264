package state

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type line struct{ Text string }

func texts(t *testing.T, in iter.Seq2[Entry[line], error]) []string {
	t.Helper()
	var got []string
	for e, err := range in {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.Seq, e.Value.Text))
	}
	return got
}

func TestLogIsDenseUnderConcurrency(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	log := must[*Log[line]](t)(NewLog[line](db, "events", 1))
	same := must[*Log[line]](t)(NewLog[line](db, "events", 1))
	const writers, each = 8, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				text := fmt.Sprint(w, "/", i)
				var err error
				switch i % 4 {
				case 0:
					_, err = log.Append(line{text})
				case 1:
					_, err = same.AppendIndexed(line{text}, "w", fmt.Sprint("w", w))
				case 2: // refused ones take no number
					_, err = log.AppendNext(func(Entry[line], uint64, time.Time) (line, []string, error) {
						return line{}, nil, context.Canceled
					})
					if !errors.Is(err, context.Canceled) {
						t.Errorf("refusal: %v", err)
					}
					_, _, err = log.AppendUnique(fmt.Sprint("u", i), line{text})
				case 3:
					var last uint64
					last, err = log.Append(line{text}, line{text + "b"}, line{text + "c"})
					if last < 3 {
						t.Errorf("last of three is %d", last)
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := uint64(writers*each/4*(1+1+3) + each/4)
	if log.Last() != want || same.Last() != want {
		t.Errorf("last is %d and %d, want %d", log.Last(), same.Last(), want)
	}
	for range 2 {
		n := uint64(0)
		var at time.Time
		for e, err := range log.Read(1) {
			if n++; err != nil || e.Seq != n || e.At.Before(at) || e.Value.Text == "" {
				t.Fatalf("entry %d: %+v, %v", n, e, err)
			}
			at = e.At
		}
		if n != want {
			t.Fatalf("%d entries, want %d", n, want)
		}
		if got := len(texts(t, log.ReadIndex("w"))); got != writers*each/4 {
			t.Errorf("%d entries by index", got)
		}
		if got := texts(t, log.ReadIndex("w3")); len(got) != each/4 || !strings.HasSuffix(got[0], "3/1") {
			t.Errorf("by index: %v", got)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t, dir)
		log = must[*Log[line]](t)(NewLog[line](db, "events", 1))
	}
}

func TestLogReads(t *testing.T) {
	db := open(t, t.TempDir())
	log := must[*Log[line]](t)(NewLog[line](db, "a", 1))
	other := must[*Log[line]](t)(NewLog[line](db, "ab", 1))
	must[uint64](t)(other.Append(line{"other"}))
	long := strings.Repeat("k", 1000)
	for i, keys := range [][]string{{"x"}, {"x", "xy"}, nil, {"", long}, {"x", "x"}} {
		if seq := must[uint64](t)(log.AppendIndexed(line{string(rune('a' + i))}, keys...)); seq != uint64(i+1) {
			t.Errorf("entry %d has number %d", i+1, seq)
		}
	}
	f := func(what string, in iter.Seq2[Entry[line], error], want ...string) {
		t.Helper()
		if d := cmp.Diff(want, texts(t, in)); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	f("all", log.Read(0), "1a", "2b", "3c", "4d", "5e")
	f("from 4", log.Read(4), "4d", "5e")
	f("beyond", log.Read(6))
	f("back", log.ReadBack(), "5e", "4d", "3c", "2b", "1a")
	f("x", log.ReadIndex("x"), "1a", "2b", "5e")
	f("x back", log.ReadIndexBack("x"), "5e", "2b", "1a")
	f("xy", log.ReadIndex("xy"), "2b")
	f("empty key", log.ReadIndex(""), "4d")
	f("long key", log.ReadIndex(long), "4d")
	f("long key and more", log.ReadIndex(long+"k"))
	f("other", other.Read(1), "1other")
	twice := log.Read(5)
	f("a sequence read twice", twice, "5e")
	f("a sequence read twice", twice, "5e")
}

func TestAppendUnique(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	log := must[*Log[line]](t)(NewLog[line](db, "episodes", 1))
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh, seqs := 0, map[uint64]bool{}
	for i := range 16 {
		wg.Go(func() {
			seq, isNew, err := log.AppendUnique("same", line{fmt.Sprint(i)})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if isNew {
				fresh++
			}
			seqs[seq] = true
		})
	}
	wg.Wait()
	if fresh != 1 || len(seqs) != 1 || log.Last() != 1 {
		t.Errorf("%d fresh of numbers %v, last is %d", fresh, seqs, log.Last())
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	log = must[*Log[line]](t)(NewLog[line](open(t, dir), "episodes", 1))
	if seq, isNew, err := log.AppendUnique("same", line{}); seq != 1 || isNew || err != nil {
		t.Errorf("after reopening: %d, %v, %v", seq, isNew, err)
	}
}

func TestWaitReturnsWhenTheLogMoves(t *testing.T) {
	log := must[*Log[line]](t)(NewLog[line](open(t, t.TempDir()), "events", 1))
	var wg sync.WaitGroup
	for after := range uint64(3) {
		wg.Go(func() {
			if err := log.Wait(t.Context(), after); err != nil || log.Last() <= after {
				t.Errorf("wait for more than %d: %v, last is %d", after, err, log.Last())
			}
		})
	}
	for range 3 {
		must[uint64](t)(log.Append(line{}))
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Wait(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled wait: %v", err)
	}
}

func TestLogOfNewerSchemaIsRefused(t *testing.T) {
	db := open(t, t.TempDir())
	v2 := must[*Log[line]](t)(NewLog[line](db, "events", 2, func(raw []byte) ([]byte, error) { return raw, nil }))
	must[uint64](t)(v2.Append(line{"new"}))
	if _, err := NewLog[line](db, "events", 1); !errors.Is(err, ErrNewerSchema) || !strings.Contains(err.Error(), "events 1") {
		t.Errorf("opened by an older version: %v", err)
	}
}
