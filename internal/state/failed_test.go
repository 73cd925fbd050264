package state

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// breakSync takes the last page out of the mapping of Badger's write-ahead log,
// far behind what is written: entries get in, and the msync after them fails
// (ENOMEM). heal puts the page back.
func breakSync(t *testing.T, dir string) (heal func()) {
	t.Helper()
	path, end := mapped(t, dir, ".mem")
	page := uintptr(os.Getpagesize())
	if _, _, errno := syscall.Syscall(syscall.SYS_MUNMAP, end-page, page, 0); errno != 0 {
		t.Fatal(errno)
	}
	return func() {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		_, _, errno := syscall.Syscall6(syscall.SYS_MMAP, end-page, page, syscall.PROT_READ|syscall.PROT_WRITE,
			syscall.MAP_SHARED|syscall.MAP_FIXED, f.Fd(), uintptr(info.Size())-page)
		if errno != 0 {
			t.Fatal(errno)
		}
	}
}

// mapped finds the one file of dir with that suffix among this process' mappings.
func mapped(t *testing.T, dir, suffix string) (path string, end uintptr) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasSuffix(f[5], suffix) || !strings.HasPrefix(f[5], dir+"/") {
			continue
		}
		if path != "" {
			t.Fatalf("mapped twice: %s and %s", path, f[5])
		}
		_, to, _ := strings.Cut(f[0], "-")
		n, err := strconv.ParseUint(to, 16, 8*int(unsafe.Sizeof(end)))
		if err != nil {
			t.Fatal(err)
		}
		path, end = f[5], uintptr(n)
	}
	if path == "" {
		t.Fatalf("no %s is mapped: %s", suffix, maps)
	}
	return path, end
}

// TestFailedCommitEndsWriting: after a commit whose sync failed its entries are
// read although nobody was told that they are written. A retry must not find
// them and pass them off as written, nor the next entry take their number.
func TestFailedCommitEndsWriting(t *testing.T) {
	dir := t.TempDir()
	db := must[*DB](t)(Open(Options{Dir: dir}))
	log := must[*Log[line]](t)(NewLog[line](db, "events", 1))
	racks := NewTable[rack](db, "rack", 1)
	must[uint64](t)(log.Append(line{"first"}))
	must[Rev](t)(racks.Put("r1", rack{Units: 1}, 0))

	heal := breakSync(t, dir)
	_, _, err := log.AppendUnique("key", line{"unsure"})
	heal()
	if !errors.Is(err, syscall.ENOMEM) {
		t.Fatalf("the sync failed, and: %v", err)
	}
	var acked []string
	if _, fresh, err := log.AppendUnique("key", line{"unsure"}); err == nil {
		acked = append(acked, "unsure")
		t.Errorf("again: acknowledged, fresh=%v", fresh)
	} else if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("again: %v", err)
	}
	if seq, err := log.Append(line{"next"}); err == nil {
		acked = append(acked, "next")
		t.Errorf("the next entry is acknowledged as number %d", seq)
	} else if !errors.Is(err, ErrFailed) {
		t.Errorf("next: %v", err)
	}
	if _, err := racks.Put("r2", rack{}, 0); !errors.Is(err, ErrFailed) {
		t.Errorf("put: %v", err)
	}
	if v, _, err := racks.Get("r1"); err != nil || v.Units != 1 {
		t.Errorf("reading goes on, and: %+v, %v", v, err)
	}
	if err := db.maintain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	db = open(t, dir)
	log = must[*Log[line]](t)(NewLog[line](db, "events", 1))
	if _, _, err := log.AppendUnique("key", line{"unsure"}); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(texts(t, log.Read(1)), " ")
	for _, want := range append(acked, "first", "unsure") {
		if strings.Count(got, want) != 1 {
			t.Errorf("the log holds %q: %q was acknowledged", got, want)
		}
	}
}
