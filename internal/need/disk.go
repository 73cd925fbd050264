package need

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is a file system of its own that can be filled.
type Disk struct {
	Dir string
	t   testing.TB
}

// NewDisk mounts a tmpfs of that size for the test. Without the right to it
// the test fails with CI=true, and is skipped elsewhere.
func NewDisk(t testing.TB, size string) Disk {
	t.Helper()
	d := Disk{t.TempDir(), t}
	if err := unix.Mount("tmpfs", d.Dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a tmpfs: %v", err)
		}
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Room is how many bytes are free.
func (d Disk) Room() int64 {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.Dir, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// Fill takes all of the disk but left bytes.
func (d Disk) Fill(left int64) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.Dir, "filler"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for n := d.Room() - left; n > 0; n = d.Room() - left {
		size, err := f.Seek(0, 2)
		if err != nil {
			d.t.Fatal(err)
		}
		if err := unix.Fallocate(int(f.Fd()), 0, size, n); err != nil && !errors.Is(err, unix.ENOSPC) {
			d.t.Fatal(err)
		}
	}
}

// Free gives back what Fill took.
func (d Disk) Free() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.Dir, "filler")); err != nil {
		d.t.Fatal(err)
	}
}
