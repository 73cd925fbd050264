package main

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/internal/backup"
	"nocturne/internal/backup/disk"
)

// keptBackups is how many whole generations the product keeps.
const keptBackups = 4

// keeper asks for one backup after another by the API.
type keeper struct {
	*underway
	t   *testing.T
	r   *rand.Rand
	dir string // the store

	mu    sync.Mutex            // guards below
	acked map[string]madeBackup // by generation
	left  map[string]bool       // generations without a manifest, and spools, as kills left them
}

func newKeeper(t *testing.T, r *rand.Rand, dir string) *keeper {
	return &keeper{underway: newUnderway(), t: t, r: r, dir: dir, acked: map[string]madeBackup{}, left: map[string]bool{}}
}

func (k *keeper) work(p *process, over <-chan struct{}) {
	for p.rest(over, time.Duration(200+k.r.IntN(1000))*time.Millisecond) {
		var started struct{ ID int64 }
		status, err := p.submit(apiPath+"/backup", asJSON, []byte("{}"), &started)
		switch {
		case status == 0:
			return
		case status == http.StatusConflict: // one that is due is being made
		case err != nil:
			k.t.Errorf("ask for a backup: %v", err)
			return
		default:
			k.begin()
			k.await(p, started.ID)
		}
	}
}

// await waits for the outcome, also when it is time to end.
func (k *keeper) await(p *process, id int64) {
	for p.rest(nil, 50*time.Millisecond) {
		var st struct {
			Asked *struct {
				ID    int64
				Done  bool
				Made  *madeBackup
				Error string
			}
		}
		if p.get(apiPath+"/backup", &st) != nil {
			return // it was killed, or is about to be
		}
		if st.Asked == nil || st.Asked.ID != id {
			k.t.Errorf("of backup %d is known: %+v", id, st.Asked)
			return
		}
		if !st.Asked.Done {
			continue
		}
		k.end()
		if st.Asked.Error != "" || st.Asked.Made == nil {
			k.t.Errorf("backup %d: %s", id, st.Asked.Error)
			return
		}
		k.mu.Lock()
		k.acked[st.Asked.Made.Generation] = *st.Asked.Made
		k.mu.Unlock()
		return
	}
}

// The moments of a backup that a kill may hit.
const (
	backingUp       = "backup under way"
	backupExport    = "backup exporting state"
	backupState     = "backup storing state"
	backupSettings  = "backup storing configuration"
	backupHistory   = "backup storing history"
	backupSealing   = "backup being sealed"
	backupPruning   = "backup removing old generations"
	backupUnclaimed = "backup made, not acknowledged"
)

// moments counts which of them a kill hit, by what lies in the data folder and
// at the store.
func (k *keeper) moments(data string, hit map[string]int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	running := k.taken()
	if running {
		hit[backingUp]++
	}
	spools, err := filepath.Glob(filepath.Join(data, "backup-spool-*"))
	if err != nil {
		k.t.Error(err)
	}
	spools = slices.DeleteFunc(spools, func(s string) bool { return k.left[s] })
	for _, s := range spools {
		k.left[s] = true
	}
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(k.dir, name))
		return err == nil
	}
	cut, pruned := "", false
	names := k.folders("parts")
	for _, name := range names {
		if has("generations/"+name+".json") || k.left[name] {
			continue
		}
		k.left[name] = true
		if name == names[len(names)-1] {
			cut = name
		} else { // what is made is newer than all that is there
			pruned = true
		}
	}
	switch {
	case pruned:
		hit[backupPruning]++
	case cut == "" && len(spools) > 0:
		hit[backupExport]++
	case cut == "":
		if running {
			hit[backupUnclaimed]++
		}
	case has("generations/" + cut + ".json.sha256"), has("generations/" + cut + ".json.sha256.part"):
		hit[backupSealing]++
	case has("parts/" + cut + "/history"):
		hit[backupHistory]++
	case has("parts/" + cut + "/configuration"):
		hit[backupSettings]++
	default:
		hit[backupState]++
	}
}

// folders are the names in a folder of the store, in order.
func (k *keeper) folders(name string) (names []string) {
	entries, err := os.ReadDir(filepath.Join(k.dir, name))
	if err != nil && !os.IsNotExist(err) {
		k.t.Error(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// list returns the generations that count, each of which must be there whole.
// Nobody works on the store.
func (k *keeper) list() []backup.Generation {
	t := k.t
	t.Helper()
	if _, err := os.Stat(k.dir); err != nil {
		return nil // killed before the first
	}
	store, err := disk.Open(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	all, err := backup.List(t.Context(), store)
	if err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	for _, g := range all {
		k.whole(g.Name)
	}
	return all
}

// whole wants every file that a generation names, in its size.
func (k *keeper) whole(name string) {
	t := k.t
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(k.dir, "generations", name+".json"))
	if err != nil {
		t.Error(err)
		return
	}
	type file struct {
		Stored string
		Size   int64
	}
	var m struct {
		State file
		Files []file
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Errorf("generation %s: %v", name, err)
	}
	for _, f := range append(m.Files, m.State) {
		st, err := os.Stat(filepath.Join(k.dir, filepath.FromSlash(f.Stored)))
		if err != nil || st.Size() != f.Size {
			t.Errorf("generation %s counts, and %s of it is not there whole: %v", name, path.Base(f.Stored), err)
		}
	}
}

// holds wants each generation that was acknowledged, but for those that the
// product may have removed.
func (k *keeper) holds() []backup.Generation {
	k.t.Helper()
	all := k.list()
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.acked {
		newer, there := 0, false
		for _, g := range all {
			there = there || g.Name == name
			if g.Kind == backup.Whole && g.Name > name {
				newer++
			}
		}
		if !there && newer < keptBackups {
			k.t.Errorf("generation %s was acknowledged and is not there; %d newer ones are", name, newer)
		}
	}
	return all
}

// verdict restores the newest generation and two others, as a person would, and
// reads what comes out.
func (k *keeper) verdict(j *judge) {
	t := k.t
	all := k.holds()
	if len(all) == 0 || len(k.acked) == 0 {
		t.Errorf("%d generations, %d of them acknowledged", len(all), len(k.acked))
		return
	}
	tried := map[string]backup.Generation{}
	for _, i := range k.r.Perm(len(all))[:min(2, len(all))] {
		tried[all[i].Name] = all[i]
	}
	tried[all[len(all)-1].Name] = all[len(all)-1]
	for _, g := range tried {
		at := g.Time.UTC().Format(time.RFC3339Nano)
		if out := mustRun(t, "backup", "drill", "--from", k.dir, "--at", at, "--in", t.TempDir()); !strings.Contains(out, g.Name) || !strings.Contains(out, "no differences") {
			t.Errorf("drill of %s:\n%s", g.Name, out)
		}
	}
	last := slices.Max(slices.Collect(maps.Keys(k.acked)))
	into := filepath.Join(t.TempDir(), "restored")
	mustRun(t, "restore", "--from", k.dir, "--at", k.acked[last].Time.UTC().Format(time.RFC3339Nano), "--data", into)
	restored := j.read(into, nil)
	// The restore itself is an entry behind.
	if n := k.acked[last].LedgerSeq; uint64(len(restored.entries)) < n || restored.entries[n-1].Hash != k.acked[last].LedgerHash {
		t.Errorf("the ledger of %s has %d entries, was acknowledged with %d", last, len(restored.entries), n)
	}
	t.Logf("%d backups acknowledged, %d leftovers of kills; %d generations at the end, restored %s and %v", len(k.acked), len(k.left), len(all), last, slices.Sorted(maps.Keys(tried)))
}
