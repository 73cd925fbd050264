package inventory

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/internal/state"
)

// childDir is set in the process that TestKilledImports starts.
const childDir = "NOCTURNE_INVENTORY_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, importOnAndOn(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// spares are in each file; it says of all of them which file it is.
const spares = 1500

func spareFile(n int) []byte {
	var b strings.Builder
	b.WriteString("items:\n")
	for i := range spares {
		fmt.Fprintf(&b, "- {id: spare/%d, fields: {file: '%d', shelf: 'the shelf behind the spare parts'}}\n", i, n)
	}
	fmt.Fprintf(&b, "- {id: file/%d}\n", n)
	return []byte(b.String())
}

// importOnAndOn imports until it is killed, and says on stdout what is in.
func importOnAndOn(dir string) error {
	db, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		return err
	}
	g, err := Open(db)
	if err != nil {
		return err
	}
	for n := len(g.Items("file")) + 1; ; n++ {
		if _, err := g.ImportYAML(context.Background(), "spares.yaml", spareFile(n), "person:ada"); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestKilledImports kills imports on their way: each is there whole or not at
// all, and one that was acknowledged is there.
func TestKilledImports(t *testing.T) {
	_, r := need.Seed(t)
	dir := t.TempDir()
	acked, left := 0, map[string]int{}
	for round := 0; round < 6 || len(left) == 0 && round < 40; round++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 1 + r.IntN(3) {
			if !lines.Scan() {
				t.Fatal("the child ended by itself")
			}
			if acked, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(time.Duration(r.IntN(300))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			if acked, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait() // it was killed
		acked = wholeAfter(t, dir, acked, left)
	}
	t.Logf("%d imports of %d items; the kills left %v", acked, spares, left)
	if len(left) == 0 {
		t.Error("no kill hit an import that was being written")
	}
}

// wholeAfter opens what a kill left and returns which file it is of. left counts
// what was found aside.
func wholeAfter(t *testing.T, dir string, acked int, left map[string]int) int {
	t.Helper()
	db, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	aside := "an import that is not decided"
	parts := 0
	for rec, err := range state.NewTable[part](db, "inventory.part", 1).All("") {
		if err != nil {
			t.Fatal(err)
		}
		if parts++; rec.Value.Parts > 0 {
			aside = "a decided import"
		}
	}
	if parts > 0 {
		left[aside]++
	}
	g, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	n := len(g.Items("file"))
	of := map[string]int{}
	for _, it := range g.Items("spare") {
		of[it.Fields["file"].Value]++
	}
	if n < acked || n > acked+1 || of[strconv.Itoa(n)] != spares || len(of) != 1 {
		t.Errorf("file %d was acknowledged; %d are there, the items are of %v", acked, n, of)
	}
	for rec := range state.NewTable[part](db, "inventory.part", 1).All("") {
		t.Errorf("%s is still aside", rec.ID)
	}
	checkIndexes(t, g)
	return n
}
