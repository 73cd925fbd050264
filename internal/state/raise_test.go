package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

type rackUnits struct {
	Name  string
	Units struct{ Height int }
}

// unitsApart is a migration of rack.
func unitsApart(raw []byte) ([]byte, error) {
	if bytes.Contains(raw, []byte(`"bad"`)) {
		return nil, errors.New("no units")
	}
	return bytes.Replace(append(raw[:len(raw)-1:len(raw)-1], "}}"...), []byte(`"Units":`), []byte(`"Units":{"Height":`), 1), nil
}

func storedUnder(t *testing.T, db *DB, prefix string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := db.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			v, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			all[string(it.Item().KeyCopy(nil))] = v
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRaise brings up records and entries of an earlier schema, keeps their
// revisions and times, leaves what cannot be brought up, and finds nothing to do
// the second time.
func TestRaise(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	racks := NewTable[rack](db, "rack", 1)
	built := must[*Log[rack]](t)(NewLog[rack](db, "built", 1))
	other := NewTable[rack](db, "rack-other", 1)
	const n = 3*raisedAtOnce + 7
	var recs []Record[rack]
	for i := range n {
		recs = append(recs, Record[rack]{ID: fmt.Sprintf("r%05d", i), Value: rack{fmt.Sprint(i), i}})
	}
	recs[n/2].Value.Name = "bad"
	if err := racks.PutMany(recs); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		must[uint64](t)(built.Append(rack{fmt.Sprint(i), i}))
	}
	must[Rev](t)(other.Put("o", rack{"o", 1}, 0))
	before := storedUnder(t, db, "")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	db = open(t, dir)
	raised := NewTable[rackUnits](db, "rack", 2, unitsApart)
	again := must[*Log[rackUnits]](t)(NewLog[rackUnits](db, "built", 2, unitsApart))
	NewTable[rack](db, "rack-other", 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Raise(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	done, err := db.Raise(t.Context())
	if err != nil || done.Records != n-1+20 || len(done.Faults) != 1 || !strings.Contains(done.Faults[0].Error(), "rack "+recs[n/2].ID+": migrate from schema version 1: no units") {
		t.Errorf("raised %+v, %v", done, err)
	}
	for key, was := range before {
		is := storedUnder(t, db, key)[key]
		kept := strings.HasPrefix(key, "rrack-other\x00") || strings.HasSuffix(key, recs[n/2].ID) || key[0] == 'm' || key[0] == 'n'
		if kept != bytes.Equal(was, is) {
			t.Fatalf("%q was %q and is %q", key, was, is)
		}
		if kept {
			continue
		}
		e, err := decodeEnvelope(is)
		old, _ := decodeEnvelope(was)
		if err != nil || e.version != 2 || e.stamp != old.stamp {
			t.Fatalf("%q: version %d, stamp %d, was %d, %v", key, e.version, e.stamp, old.stamp, err)
		}
	}
	if v, _, err := raised.Get(recs[7].ID); err != nil || v.Units.Height != 7 {
		t.Errorf("read after it %+v, %v", v, err)
	}
	for e, err := range again.Read(1) {
		if err != nil || e.Value.Units.Height != int(e.Seq)-1 {
			t.Errorf("entry %+v, %v", e, err)
		}
	}
	if done, err := db.Raise(t.Context()); err != nil || done.Records != 0 || len(done.Faults) != 1 {
		t.Errorf("the second time %+v, %v", done, err)
	}
}
