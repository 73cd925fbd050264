package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"nocturne/tsdb/folder"
)

// Pruned says what Prune removed.
type Pruned struct {
	Generations []string `json:"generations"`
	Files       int      `json:"files"` // shared ones that no generation names any more
	Bytes       int64    `json:"bytes"`
}

// Prune keeps the newest whole generations and removes the others, those cut
// short included, with the blocks that only they named. A generation whose
// manifest is damaged stops it, since what it names cannot be known.
func Prune(dir string, keep int) (_ Pruned, err error) {
	if keep < 1 {
		return Pruned{}, fmt.Errorf("prune %s: at least one generation has to stay, not %d", dir, keep)
	}
	lock, err := lockBackup(dir)
	if err != nil {
		return Pruned{}, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	all, err := List(dir)
	if err != nil {
		return Pruned{}, err
	}
	var p Pruned
	named := map[string]bool{}
	for _, g := range slices.Backward(all) {
		_, err := os.Stat(filepath.Join(dir, g.Name, manifestName))
		if g.manifest == nil && err == nil {
			return Pruned{}, fmt.Errorf("prune %s: %s; move its folder away to go on", dir, g.Fault)
		}
		if g.manifest != nil && keep > 0 {
			keep--
			for _, f := range g.manifest.Files {
				named[f.Stored] = true
			}
			continue
		}
		p.Generations = append(p.Generations, g.Name)
	}
	slices.Reverse(p.Generations)
	for _, name := range p.Generations {
		if err := dropGeneration(filepath.Join(dir, name)); err != nil {
			return Pruned{}, fmt.Errorf("prune %s: %w", dir, err)
		}
	}
	if err := p.dropUnnamed(dir, named); err != nil {
		return Pruned{}, fmt.Errorf("prune %s: %w", dir, err)
	}
	return p, nil
}

// dropGeneration removes the manifest first, so that a generation half removed
// counts as none.
func dropGeneration(dir string) error {
	if err := os.Remove(filepath.Join(dir, manifestName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(folder.Sync(dir), os.RemoveAll(dir))
}

func (p *Pruned) dropUnnamed(dir string, named map[string]bool) error {
	var folders []string
	err := filepath.WalkDir(filepath.Join(dir, sharedName), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			folders = append(folders, path)
			return nil
		}
		if named[filepath.ToSlash(rel)] {
			return nil
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		p.Files++
		p.Bytes += st.Size()
		return os.Remove(path)
	})
	if err != nil {
		return err
	}
	for _, f := range slices.Backward(folders[1:]) { // innermost first; blocks itself stays
		if left, err := os.ReadDir(f); err != nil || len(left) > 0 {
			continue
		}
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}
