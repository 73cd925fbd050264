package backup

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Pruned says what Prune removed.
type Pruned struct {
	Generations []string `json:"generations"`
	Files       int      `json:"files"`
	Bytes       int64    `json:"bytes"`
}

// Prune keeps the newest whole generations and the points since the oldest of
// them, and removes all else: other generations, parts of those cut short, and
// the blocks that nobody names any more. A manifest that cannot be read stops
// it, since what it names cannot be known. Nobody may be making a generation at
// the store meanwhile.
func Prune(ctx context.Context, s Store, keep int) (Pruned, error) {
	p, err := prune(ctx, s, keep)
	if err != nil {
		return p, fmt.Errorf("prune %s: %w", s, err)
	}
	return p, nil
}

func prune(ctx context.Context, s Store, keep int) (p Pruned, err error) {
	if keep < 1 {
		return p, fmt.Errorf("at least one whole generation has to stay, not %d", keep)
	}
	all, err := List(ctx, s)
	if err != nil {
		return p, err
	}
	oldest, named, err := kept(ctx, s, all, keep)
	if err != nil || oldest == "" {
		return p, err
	}
	// One after another is made, so what is younger than a whole generation
	// stands on it or on a younger one.
	stays := map[string]bool{}
	for _, g := range all {
		if g.Name >= oldest {
			stays[g.Name] = true
			continue
		}
		p.Generations = append(p.Generations, g.Name)
		// The manifest goes first: a generation half removed counts as none.
		for _, name := range []string{manifestName(g.Name), manifestName(g.Name) + sumSuffix} {
			if err := s.Delete(ctx, name); err != nil {
				return p, err
			}
		}
	}
	parts, err := s.List(ctx, partsFolder)
	if err != nil {
		return p, err
	}
	blocks, err := s.List(ctx, sharedFolder)
	if err != nil {
		return p, err
	}
	for _, o := range slices.Concat(parts, blocks) {
		generation, _, _ := strings.Cut(strings.TrimPrefix(o.Name, partsFolder+"/"), "/")
		if stays[generation] || named[o.Name] {
			continue
		}
		if err := s.Delete(ctx, o.Name); err != nil {
			return p, err
		}
		p.Files++
		p.Bytes += o.Size
	}
	return p, nil
}

// kept returns the oldest whole generation that stays and what those that stay
// name of the shared files.
func kept(ctx context.Context, s Store, all []Generation, keep int) (oldest string, named map[string]bool, err error) {
	named = map[string]bool{}
	for _, g := range slices.Backward(all) {
		if g.Kind != Whole || keep == 0 {
			continue
		}
		keep--
		oldest = g.Name
		m, err := load(ctx, s, g.Name)
		if err != nil {
			return "", nil, fmt.Errorf("%w; move it away from %s to go on", err, path.Join(s.String(), manifestName(g.Name)))
		}
		for _, f := range m.Files {
			named[f.Stored] = true
		}
	}
	return oldest, named, nil
}
