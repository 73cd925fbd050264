package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/internal/inventory"
	"nocturne/internal/state"
)

// assets are in each file that is imported; each of them is said to be of that
// file, and the first ones to hang on an item that the file brings.
const (
	assets  = 1000
	hanging = 20
)

// importer imports one file after another by the API.
type importer struct {
	*underway
	t *testing.T
	r *rand.Rand

	mu          sync.Mutex // guards below
	sent, acked int        // number of the newest file
}

func assetFile(n int) []byte {
	var b strings.Builder
	b.WriteString("items:\n")
	fmt.Fprintf(&b, "- {id: order/%d, name: Order %d}\n", n, n)
	for i := range assets {
		fmt.Fprintf(&b, "- {id: asset/%d, fields: {file: '%d', place: shelf %d of the store behind hall 1}}\n", i, n, n*i%97)
	}
	b.WriteString("relations:\n")
	for i := range hanging {
		fmt.Fprintf(&b, "- {from: asset/%d, type: runs-on, to: order/%d}\n", i, n)
	}
	return []byte(b.String())
}

func (im *importer) work(p *process, over <-chan struct{}) {
	for p.rest(over, time.Duration(50+im.r.IntN(300))*time.Millisecond) {
		im.mu.Lock()
		n := im.acked + 1
		im.sent = n
		im.mu.Unlock()
		im.begin()
		var answer struct{ Created, Changed []string }
		status, err := p.submit(apiPath+"/inventory?name=assets.yaml", map[string]string{"Content-Type": "application/yaml"}, assetFile(n), &answer)
		if status == 0 {
			continue // it was killed, or is about to be
		}
		im.end()
		if err != nil {
			im.t.Errorf("import %d: %v", n, err)
			return
		}
		im.mu.Lock()
		im.acked = n
		im.mu.Unlock()
	}
}

// holds wants the graph to be as one file left it: the last that was
// acknowledged, or the one that a kill overtook.
func (im *importer) holds(g *inventory.Graph) {
	t := im.t
	t.Helper()
	im.mu.Lock()
	defer im.mu.Unlock()
	n := len(g.Items("order"))
	if n < im.acked || n > im.sent {
		t.Errorf("import %d was acknowledged and %d sent; there are %d", im.acked, im.sent, n)
	}
	if n > 0 {
		im.whole(g, strconv.Itoa(n))
	}
	im.acked = n // what was not acknowledged is, now that it is seen
}

func (im *importer) whole(g *inventory.Graph, file string) {
	t := im.t
	t.Helper()
	of := map[string]int{}
	for _, it := range g.Items("asset") {
		of[it.Fields["file"].Value]++
	}
	if of[file] != assets || len(of) != 1 {
		t.Errorf("import %s is not there whole: the items are of %v", file, of)
	}
	hang := 0
	for _, r := range g.Relations("order/" + file) {
		if r.Type == inventory.RunsOn {
			hang++
		}
	}
	if hang != hanging {
		t.Errorf("import %s is not there whole: %d relations, want %d", file, hang, hanging)
	}
}

// The moments of an import that a kill may hit.
const (
	importing       = "import under way"
	importSetAside  = "import being set aside"
	importUnwritten = "import decided, not written out"
)

// moments counts which a kill hit, by what lies aside.
func (im *importer) moments(t *testing.T, db *state.DB, hit map[string]int) {
	t.Helper()
	if im.taken() {
		hit[importing]++
	}
	aside, decided := all[struct {
		Records []json.RawMessage `json:"records"`
		Parts   int               `json:"parts"`
	}](t, db, "inventory.part"), false
	for _, p := range aside {
		decided = decided || p.Parts > 0
	}
	switch {
	case decided:
		hit[importUnwritten]++
	case len(aside) > 0:
		hit[importSetAside]++
	}
}
