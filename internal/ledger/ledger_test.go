package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
	"nocturne/internal/state"
)

func open(t *testing.T, dir string) (*state.DB, *Chain) {
	t.Helper()
	db, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return db, c
}

func fill(t *testing.T, c *Chain, r *rand.Rand, n int) []Entry {
	t.Helper()
	var all []Entry
	for i := range n {
		e, err := c.Append(Entry{
			Kind: []string{Audit, Alert, Job, Report}[r.IntN(4)], Actor: "person:ops", Action: "did",
			Subject: fmt.Sprint("host/", r.IntN(5)), Incident: []string{"", "inc-a", "inc-b"}[r.IntN(3)],
			Data: json.RawMessage(fmt.Sprintf(`{"n": %d, "text": "<%d> & \u00e9 é"}`, i, r.Uint32())),
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func collect(t *testing.T, in iter.Seq2[Entry, error]) []Entry {
	t.Helper()
	var got []Entry
	for e, err := range in {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	return got
}

func filter(all []Entry, keep func(Entry) bool) []Entry {
	var kept []Entry
	for _, e := range all {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

func TestAppendReopenRead(t *testing.T) {
	_, r := need.Seed(t)
	dir := t.TempDir()
	db, c := open(t, dir)
	all := fill(t, c, r, 300)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, c = open(t, dir)
	all = append(all, fill(t, c, r, 50)...)
	if n, err := c.Verify(t.Context()); n != 350 || err != nil {
		t.Fatalf("%d entries hold, %v", n, err)
	}
	for name, x := range map[string]struct{ want, got []Entry }{
		"all":      {all, collect(t, c.Read(1))},
		"from 200": {all[199:], collect(t, c.Read(200))},
		"incident": {filter(all, func(e Entry) bool { return e.Incident == "inc-a" }), collect(t, c.Incident("inc-a"))},
		"subject":  {filter(all, func(e Entry) bool { return e.Subject == "host/3" }), collect(t, c.Subject("host/3"))},
		"nobody":   {nil, collect(t, c.Subject("host/"))},
	} {
		if d := cmp.Diff(x.want, x.got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	latest, err := c.Latest(3, "")
	if err != nil || len(latest) != 3 || latest[0].Seq != 350 || latest[2].Seq != 348 {
		t.Errorf("latest: %v, %v", latest, err)
	}
	jobs := filter(all, func(e Entry) bool { return e.Kind == Job })
	latest, err = c.Latest(1000, Job)
	if err != nil || len(latest) != len(jobs) || latest[0].Seq != jobs[len(jobs)-1].Seq {
		t.Errorf("latest jobs: %d, want %d, %v", len(latest), len(jobs), err)
	}
}

// Each kind of tampering, done to the stored records themselves, is found and
// the first bad entry is named.
func TestVerifyFindsTampering(t *testing.T) {
	_, r := need.Seed(t)
	for round := range 30 {
		dir := t.TempDir()
		db, c := open(t, dir)
		n := 3 + r.IntN(30)
		fill(t, c, r, n)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		what, first := tamper(t, dir, r, n)
		db, err := state.Open(state.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(db); err == nil {
			t.Errorf("round %d: %s of %d: opened", round, what, n)
		}
		log, err := state.NewLog[Entry](db, "ledger", 1)
		if what == "removal" && first == n { // seen before there is a chain
			if !errors.Is(err, state.ErrDamaged) {
				t.Errorf("round %d: removal of the last entry: %v", round, err)
			}
		} else if err != nil {
			t.Fatal(err)
		} else {
			good, err := (&Chain{log: log}).Verify(t.Context())
			if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), fmt.Sprintf("at entry %d:", first)) || good != uint64(first-1) {
				t.Errorf("round %d: %s of %d: %d entries hold, want %d; %v", round, what, n, good, first-1, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// header is the length of what package state puts before a value.
const header = 11

// tamper damages one of n entries behind the back of package state and
// returns the first entry that must be named.
func tamper(t *testing.T, dir string, r *rand.Rand, n int) (what string, first int) {
	t.Helper()
	raw, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	key := func(seq int) []byte { return binary.BigEndian.AppendUint64([]byte("lledger\x00"), uint64(seq)) }
	err = raw.Update(func(txn *badger.Txn) error {
		read := func(seq int) []byte {
			item, err := txn.Get(key(seq))
			if err != nil {
				t.Fatal(err)
			}
			b, err := item.ValueCopy(nil)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		at := 1 + r.IntN(n)
		b := read(at)
		first = at
		switch r.IntN(5) {
		case 0:
			what = "removal"
			return txn.Delete(key(at))
		case 1:
			what = "swap"
			other := 1 + (at-1+1+r.IntN(n-1))%n
			first = min(at, other)
			c := read(other)
			return errors.Join(txn.Set(key(other), b), txn.Set(key(at), c))
		case 2:
			what = "changed actor"
			return txn.Set(key(at), []byte(strings.Replace(string(b), "person:ops", "person:eve", 1)))
		case 3:
			// Of the last entry, only a hash kept elsewhere would show this.
			what = "change with its hash made to fit"
			at = 1 + r.IntN(n-1)
			first = at + 1
			b = read(at)
			var e Entry
			if err := json.Unmarshal(b[header:], &e); err != nil {
				return err
			}
			e.Subject = "host/other"
			e.Hash = e.hash()
			v, err := json.Marshal(e)
			if err != nil {
				return err
			}
			return txn.Set(key(at), append(b[:header:header], v...))
		default:
			what = "flipped bit"
			b[strings.Index(string(b), `"text":`)+9+r.IntN(5)] ^= 1
			return txn.Set(key(at), b)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return what, first
}

func TestConcurrentAppendsChain(t *testing.T) {
	_, c := open(t, t.TempDir())
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := c.Append(Entry{Kind: Audit, Actor: fmt.Sprint("person:", w), Action: "did", Subject: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n, err := c.Verify(t.Context()); n != 400 || err != nil {
		t.Errorf("%d entries hold, %v", n, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	_, c := open(t, t.TempDir())
	for _, e := range []Entry{
		{},
		{Kind: Audit, Actor: "system"},
		{Kind: Audit, Actor: "system", Action: "x", Data: json.RawMessage(`{`)},
	} {
		if _, err := c.Append(e); err == nil {
			t.Errorf("appended %+v", e)
		}
	}
	if _, err := c.Append(Entry{Kind: Audit, Actor: "system", Action: "x", Subject: "bad\xff\x00" + strings.Repeat("long", 1000)}); err != nil {
		t.Error(err)
	}
	if n, err := c.Verify(t.Context()); n != 1 || err != nil {
		t.Errorf("%d entries hold, %v", n, err)
	}
}

// The hash is what the package comment says, whatever the code becomes.
func TestHashIsAsDocumented(t *testing.T) {
	_, c := open(t, t.TempDir())
	e, err := c.Append(Entry{Kind: Audit, Actor: "system", Action: "start", Data: json.RawMessage(`{"a": 1}`)})
	if err != nil {
		t.Fatal(err)
	}
	at := e.At.Format("2006-01-02T15:04:05.999999999Z07:00")
	plain := "nocturne ledger 1\n" + "\x00" + "\x011" + string(rune(len(at))) + at +
		"\x05audit" + "\x06system" + "\x05start" + "\x00" + "\x00" + "\x07{\"a\":1}"
	if want := sum(plain); e.Hash != want || e.Prev != "" {
		t.Errorf("hash %s, want %s", e.Hash, want)
	}
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
