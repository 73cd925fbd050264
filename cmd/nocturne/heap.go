package main

import (
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"

	"nocturne/internal/resident"
)

const (
	smallHeapPercent  = 50
	compactingPercent = 10
	// leanUpTo is the live heap beyond which collecting often costs more than
	// the buffers of a block.
	leanUpTo = 256 << 20
)

// smallHeap, beside the limit that limitMemory sets, lets the collector run earlier than Go's default: an appliance
// that idles should not keep twice its live heap. It is for after the opening,
// whose replay it would slow by a fifth.
func smallHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(smallHeapPercent)
	}
}

// forgetStart gives back the pages of the program that its start needed: most
// of them are not needed again.
func forgetStart(log *slog.Logger) {
	self, err := os.Executable()
	if err == nil {
		_, err = resident.Release(func(path string) bool { return path == self })
	}
	if err != nil {
		log.Warn("the program's own pages stay in memory", "component", "nocturne", "err", err)
	}
}

// lean counts the blocks that are being written.
var lean struct {
	sync.Mutex
	writing int
}

// leanHeap keeps the heap tight while history writes a block, whose buffers
// would be paid for half again, and gives back what they took when the
// returned function is called.
func leanHeap() func() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(live); os.Getenv("GOGC") != "" || live[0].Value.Uint64() > leanUpTo {
		return func() {}
	}
	lean.Lock()
	defer lean.Unlock()
	lean.writing++
	debug.SetGCPercent(compactingPercent)
	return func() {
		lean.Lock()
		defer lean.Unlock()
		if lean.writing--; lean.writing == 0 {
			debug.SetGCPercent(smallHeapPercent)
			debug.FreeOSMemory()
		}
	}
}
