package state

import "sync"

// deletionsKept bounds the memory that remembered deletions take, in bytes of
// keys.
const deletionsKept = 4 << 20

// deletions remembers which keys were deleted. Badger forgets a deletion as
// soon as nothing older is left under it, so an increment that was made of
// Badger's versions alone would let deleted records come back.
type deletions struct {
	mu    sync.Mutex // guards below
	floor uint64     // what was deleted after an older version is not all known
	keys  []deletion // in the order of their commits
	bytes int
}

// deletion is of a key, in a commit after a version. It may have failed, or
// the key may have been written again: who asks looks what is there.
type deletion struct {
	after uint64
	key   string
}

// note is called before the commit, so that no snapshot sees a deletion that is
// not here yet.
func (d *deletions) note(after uint64, keys []string) {
	if len(keys) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		d.keys = append(d.keys, deletion{after, k})
		d.bytes += len(k)
	}
	if d.bytes <= deletionsKept {
		return
	}
	n := 0
	for ; n < len(d.keys) && d.bytes > deletionsKept/2; n++ {
		d.bytes -= len(d.keys[n].key)
		d.floor = d.keys[n].after + 1
	}
	d.keys = append([]deletion(nil), d.keys[n:]...)
}

// since returns the keys deleted after a version, some perhaps twice; not all
// is known where ok is false. There is one writer, so a commit after version v
// is noted with v or a later one.
func (d *deletions) since(version uint64) (keys []string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if version < d.floor {
		return nil, false
	}
	for _, x := range d.keys {
		if x.after >= version {
			keys = append(keys, x.key)
		}
	}
	return keys, true
}
