package resident

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRelease maps a file, touches it all, gives it back, and reads it again.
func TestRelease(t *testing.T) {
	const size = 1 << 20
	path := filepath.Join(t.TempDir(), "a mapped file")
	want := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(mapped); err != nil {
			t.Error(err)
		}
	}()
	if !bytes.Equal(mapped, want) {
		t.Fatal("the file is not what was written")
	}
	if n := residentKiB(t, path); n < size/1024 {
		t.Fatalf("%d KiB are resident after all was read", n)
	}
	n, err := Release(func(p string) bool { return p == path })
	if err != nil || n != size {
		t.Errorf("%d bytes given back, %v", n, err)
	}
	if n := residentKiB(t, path); n != 0 {
		t.Errorf("%d KiB are still resident", n)
	}
	if !bytes.Equal(mapped, want) {
		t.Error("the file reads differently afterwards")
	}
}

// residentKiB reads proc_pid_smaps(5).
func residentKiB(t *testing.T, path string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	found, in := false, false
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case strings.Contains(f[0], "-"):
			in = strings.HasSuffix(strings.TrimSpace(line), path)
			found = found || in
		case in && f[0] == "Rss:":
			for _, c := range f[1] {
				n = n*10 + int(c-'0')
			}
		}
	}
	if !found {
		t.Fatalf("%s is not mapped", path)
	}
	return n
}

// TestWrittenPagesStay leaves out what may hold more than the file.
func TestWrittenPagesStay(t *testing.T) {
	const maps = `00400000-00500000 r-xp 00000000 fd:00 17 /opt/noc turne
Rss:                 100 kB
Anonymous:             0 kB
00500000-00600000 rw-p 00100000 fd:00 17 /opt/noc turne
Anonymous:             0 kB
00600000-00700000 r--p 00200000 fd:00 17 /opt/noc turne
Anonymous:             4 kB
7f0000000000-7f0000001000 rw-p 00000000 00:00 0
Anonymous:             4 kB
7f0000002000-7f0000003000 r--p 00000000 00:00 0 [vvar]
Anonymous:             0 kB
`
	got, err := parse(strings.NewReader(maps), func(string) bool { return true })
	if want := (area{0x400000, 0x500000, "/opt/noc turne"}); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%+v, %v", got, err)
	}
}
