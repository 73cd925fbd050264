package state

import (
	"fmt"
	"strings"
	"testing"
)

// TestSecondCloseWaitsForTheFirst: whoever has closed may open the folder
// again, whichever call it was that closed the files.
func TestSecondCloseWaitsForTheFirst(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		db := must[*DB](t)(Open(Options{Dir: dir}))
		blobs := NewTable[string](db, "blob", 1)
		if _, err := blobs.Put(fmt.Sprint(i), strings.Repeat("x", 1<<20), 0); err != nil { // something to write out
			t.Fatal(err)
		}
		first := make(chan error, 1)
		go func() { first <- db.Close() }()
		<-db.done // the first has begun and not yet closed the files
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		again, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatalf("closed, and then: %v", err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	}
}
