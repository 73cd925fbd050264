// Package storetest holds what every store of backups has to do. Only tests
// import it.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/backup"
)

// big is more than a store sends at once.
const big = 40 << 20

// trial is a store being tried.
type trial struct {
	*testing.T
	s backup.Store
}

func (t trial) put(name, text string) {
	t.Helper()
	if err := t.s.Put(t.Context(), name, int64(len(text)), strings.NewReader(text)); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func (t trial) get(name string) string {
	t.Helper()
	r, err := t.s.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	return string(b)
}

func (t trial) list(folder string, want ...string) {
	t.Helper()
	all, err := t.s.List(t.Context(), folder)
	if err != nil {
		t.Fatalf("list %s: %v", folder, err)
	}
	got := []string{}
	for _, o := range all {
		got = append(got, fmt.Sprint(o.Name, " ", o.Size))
	}
	if d := cmp.Diff(append([]string{}, want...), got); d != "" {
		t.Errorf("in %s (-want +got):\n%s", folder, d)
	}
}

// Run tries the stores that open gives, which are all the same place.
func Run(t *testing.T, open func() backup.Store) {
	t.Helper()
	first := trial{t, open()}
	first.names()
	first.failures()
	first.large()
	first.deletes()
	if err := first.s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	again := trial{t, open()}
	defer again.s.Close()
	if got := again.get("generations/a.json"); got != "another one" {
		t.Errorf("opened again: %q", got)
	}
	if strings.Contains(again.s.String(), "PLANTED-SECRET") {
		t.Errorf("its name %s tells a secret", again.s)
	}
}

func (t trial) names() {
	t.list("generations")
	t.put("generations/b.json", "two")
	t.put("generations/a.json", "one")
	t.put("parts/x/history/wal/00000001", "")
	t.put("generations.old/c", "no generation")
	t.list("generations", "generations/a.json 3", "generations/b.json 3")
	t.list("parts", "parts/x/history/wal/00000001 0")
	t.put("generations/a.json", "another one")
	if got := t.get("generations/a.json"); got != "another one" {
		t.Errorf("written over: %q", got)
	}
	if _, err := t.s.Get(t.Context(), "generations/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get of nothing: %v", err)
	}
}

// failures leave what was there.
func (t trial) failures() {
	broken := io.MultiReader(strings.NewReader("ha"), failing{})
	if err := t.s.Put(t.Context(), "generations/a.json", 4, broken); err == nil {
		t.Error("put of what cannot be read: no error")
	}
	if err := t.s.Put(t.Context(), "generations/a.json", 4, strings.NewReader("ha")); err == nil {
		t.Error("put of less than was said: no error")
	}
	if got := t.get("generations/a.json"); got != "another one" {
		t.Errorf("after puts that failed: %q", got)
	}
}

func (t trial) large() {
	data := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), big/36)
	if err := t.s.Put(t.Context(), "blocks/big", int64(len(data)), io.MultiReader(bytes.NewReader(data))); err != nil {
		t.Fatalf("put a large one: %v", err)
	}
	if !bytes.Equal([]byte(t.get("blocks/big")), data) {
		t.Error("a large one reads back differently")
	}
}

func (t trial) deletes() {
	for range 2 {
		if err := t.s.Delete(t.Context(), "generations/b.json"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	t.list("generations", "generations/a.json 11")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the source is gone") }
