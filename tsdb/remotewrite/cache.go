package remotewrite

import (
	"hash/maphash"
	"sync"
)

// key stands for the labels of a series as they came. It is a hash under two
// seeds of this process: with 128 bits that no sender can foresee, two series
// never meet.
type key [2]uint64

type seeds [2]maphash.Seed

func newSeeds() seeds { return seeds{maphash.MakeSeed(), maphash.MakeSeed()} }

func (s seeds) of(b []byte) key { return key{maphash.Bytes(s[0], b), maphash.Bytes(s[1], b)} }

const shards = 16

// cache remembers the store's references of series. A reference of a series
// that the store has dropped is found out when it is used. What was not used
// between two turns is forgotten at the second, and a full shard turns at once.
type cache struct {
	perShard int // entries of one generation
	shard    [shards]struct {
		sync.Mutex
		young, old map[key]uint64
	}
}

func newCache(entries int) *cache {
	c := &cache{perShard: max(1, entries/2/shards)}
	for i := range c.shard {
		c.shard[i].young = map[key]uint64{}
	}
	return c
}

// get returns the reference, 0 when there is none.
func (c *cache) get(k key) uint64 {
	s := &c.shard[k[0]%shards]
	s.Lock()
	defer s.Unlock()
	if ref := s.young[k]; ref != 0 {
		return ref
	}
	ref := s.old[k]
	if ref != 0 {
		c.put(k, ref)
	}
	return ref
}

// set remembers a reference.
func (c *cache) set(k key, ref uint64) {
	s := &c.shard[k[0]%shards]
	s.Lock()
	defer s.Unlock()
	c.put(k, ref)
}

// put needs the shard's lock.
func (c *cache) put(k key, ref uint64) {
	s := &c.shard[k[0]%shards]
	if len(s.young) >= c.perShard {
		s.young, s.old = make(map[key]uint64, len(s.young)), s.young
	}
	s.young[k] = ref
}

// turn starts a generation.
func (c *cache) turn() {
	for i := range c.shard {
		s := &c.shard[i]
		s.Lock()
		s.young, s.old = make(map[key]uint64, len(s.young)), s.young
		s.Unlock()
	}
}
