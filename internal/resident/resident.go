// Package resident gives pages of mapped files back to the kernel that were
// read once and may not be needed again. They count as the process's memory for
// as long as they are mapped in, and come back from the page cache when touched.
package resident

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Release gives back the pages of this process's mappings of files for whose path
// of says yes, and returns how many bytes of mappings those are. It leaves out
// those that may be written or hold what was written once, such as what a
// loader has relocated.
//
// While it runs, nobody may end one of these mappings: what is mapped at its
// place meanwhile would lose its content.
func Release(of func(path string) bool) (int64, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, fmt.Errorf("read the process's mappings: %w", err)
	}
	defer f.Close()
	areas, err := parse(f, of)
	if err != nil {
		return 0, fmt.Errorf("read the process's mappings: %w", err)
	}
	var n int64
	for _, a := range areas {
		// Not unix.Madvise: it takes a slice, and this memory is not Go's.
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, a.start, a.end-a.start, unix.MADV_DONTNEED); e != 0 {
			err = errors.Join(err, fmt.Errorf("give back %d bytes of %s: %w", a.end-a.start, a.path, e))
			continue
		}
		n += int64(a.end - a.start)
	}
	return n, err
}

type area struct {
	start, end uintptr
	path       string
}

// parse reads proc_pid_smaps(5): for each area a line of start-end, permissions,
// offset, device, inode and path, and lines of figures, Anonymous among them:
// pages that are not the file's any more.
func parse(r io.Reader, of func(string) bool) (areas []area, err error) {
	var next *area
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return areas, lines.Err()
		}
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 0:
		case !strings.HasSuffix(f[0], ":"):
			if next, err = head(f, of); err != nil {
				return nil, err
			}
		case f[0] == "Anonymous:" && next != nil:
			if len(f) > 1 && f[1] == "0" {
				areas = append(areas, *next)
			}
			next = nil
		}
	}
}

// head reads the first line of an area; nil where it is to be left.
func head(f []string, of func(string) bool) (*area, error) {
	if len(f) < 6 || f[4] == "0" || strings.Contains(f[1], "w") {
		return nil, nil
	}
	path := strings.Join(f[5:], " ")
	if !of(path) {
		return nil, nil
	}
	from, to, _ := strings.Cut(f[0], "-")
	start, err := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	return &area{uintptr(start), uintptr(end), path}, errors.Join(err, err2)
}
