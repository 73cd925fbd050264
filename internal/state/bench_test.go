package state

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkPut shows that concurrent writers share an fsync.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			racks := NewTable[rack](open(b, b.TempDir()), "rack", 1)
			var next atomic.Int64
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if _, err := racks.Put(fmt.Sprint(i), rack{Name: "a rack of ordinary length"}, 0); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkPutMany is one record of many written together.
func BenchmarkPutMany(b *testing.B) {
	racks := NewTable[rack](open(b, b.TempDir()), "rack", 1)
	recs := make([]Record[rack], b.N)
	for i := range recs {
		recs[i] = Record[rack]{ID: fmt.Sprint(i), Value: rack{Name: "a rack of ordinary length"}}
	}
	b.ResetTimer()
	if err := racks.PutMany(recs); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkIdle reports the memory of a process that opened 100,000 records
// and does nothing.
func BenchmarkIdle(b *testing.B) {
	dir := b.TempDir()
	db := open(b, dir)
	recs := make([]Record[rack], 100_000)
	for i := range recs {
		recs[i] = Record[rack]{ID: fmt.Sprint(i), Value: rack{Name: strings.Repeat("x", 200)}}
	}
	if err := NewTable[rack](db, "rack", 1).PutMany(recs); err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	recs = nil
	debug.FreeOSMemory()
	before := resident(b)
	for b.Loop() {
		db = open(b, dir)
		if _, _, err := NewTable[rack](db, "rack", 1).Get("4711"); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(resident(b), "rss-MiB")
		b.ReportMetric(resident(b)-before, "own-MiB")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func resident(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("needs /proc")
	}
	for l := range strings.Lines(string(status)) {
		var kb float64
		if n, _ := fmt.Sscanf(l, "VmRSS: %f kB", &kb); n == 1 {
			return kb / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
