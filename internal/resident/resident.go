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

// Release gives back the pages of this process's unwritable mappings of files
// for whose path of says yes, and returns how many bytes of mappings those are.
//
// While it runs, nobody may end one of these mappings: what is mapped at its
// place meanwhile would lose its content.
func Release(of func(path string) bool) (int64, error) {
	f, err := os.Open("/proc/self/maps")
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

// parse reads proc_pid_maps(5): start-end, permissions, offset, device, inode
// and path. Of the writable ones DONTNEED could drop what was written.
func parse(r io.Reader, of func(string) bool) ([]area, error) {
	var areas []area
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return areas, lines.Err()
		}
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[4] == "0" || strings.Contains(f[1], "w") {
			continue
		}
		path := strings.Join(f[5:], " ")
		if !of(path) {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err = errors.Join(err, err2); err != nil {
			return nil, err
		}
		areas = append(areas, area{uintptr(start), uintptr(end), path})
	}
}
