package backup

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"nocturne/tsdb/archive"
)

// history stores a picture of the history, its shared files once.
func (g *making) history(ctx context.Context, recheck bool) (err error) {
	still, err := archive.Hold(g.src.History)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, still.Close()) }()
	if g.m.Blocks, err = archive.Told(still.Dir()); err != nil {
		return err
	}
	files, err := still.Files()
	if err != nil {
		return err
	}
	have, err := shelf(ctx, g.store)
	if err != nil {
		return err
	}
	have.recheck, g.faults = recheck, have.faults
	for _, s := range files {
		g.meter.total += s.Size
	}
	for _, s := range files {
		f := File{Name: path.Join("history", s.Name), Stored: path.Join(partsFolder, g.m.Name, "history", s.Name), Size: s.Size, Modified: s.Modified}
		if s.Shared {
			f.Stored = path.Join(sharedFolder, s.Name)
			there, err := have.holds(ctx, &f, s.Path)
			if err != nil {
				return err
			}
			if there {
				g.m.Files = append(g.m.Files, f)
				g.count(f)
				g.meter.step(s.Size)
				continue
			}
		}
		if err := g.add(ctx, f, s.Path); err != nil {
			return err
		}
	}
	return nil
}

// shared is what a store holds of the files that generations share.
type shared struct {
	store   Store
	sizes   map[string]int64
	known   map[string]File // by what a good generation says of it
	recheck bool
	faults  []string
}

// shelf reads what the whole generations name. One whose manifest is damaged is
// passed over: what it alone named is checked as if it were unknown.
func shelf(ctx context.Context, s Store) (*shared, error) {
	objects, err := s.List(ctx, sharedFolder)
	if err != nil {
		return nil, err
	}
	h := &shared{store: s, sizes: map[string]int64{}, known: map[string]File{}}
	for _, o := range objects {
		h.sizes[o.Name] = o.Size
	}
	all, err := List(ctx, s)
	if err != nil || len(objects) == 0 {
		return h, err
	}
	for _, g := range all {
		if g.Kind != Whole {
			continue
		}
		m, err := load(ctx, s, g.Name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			h.faults = append(h.faults, err.Error())
			continue
		}
		for _, f := range m.Files {
			h.known[f.Stored] = f
		}
	}
	return h, nil
}

// holds says whether the store has a shared file already, and fills in its
// checksum. What rots at the source is not copied over what is good.
func (h *shared) holds(ctx context.Context, f *File, local string) (bool, error) {
	size, ok := h.sizes[f.Stored]
	if !ok || size != f.Size {
		return false, nil
	}
	known, ok := h.known[f.Stored]
	ok = ok && known.Size == f.Size && known.Modified.Equal(f.Modified)
	if ok && !h.recheck {
		f.SHA256 = known.SHA256
		return true, nil
	}
	have, _, err := sumStored(ctx, h.store, f.Stored)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want := known.SHA256
	if !ok { // left by a backup that was cut short
		if want, err = sumLocal(ctx, local); err != nil {
			return false, err
		}
	}
	f.SHA256 = want
	return have == want, nil
}
