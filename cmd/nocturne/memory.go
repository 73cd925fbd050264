package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// memoryShare of what the control group may take is Go's; the rest is for what
// Go's memory limit does not count, such as mapped files that the group is
// charged for.
const memoryShare = 0.9

// limitMemory holds Go to the memory that the process's control groups leave
// it, unless GOMEMLIMIT says otherwise, and says what was chosen.
func limitMemory(log *slog.Logger) {
	from := "GOMEMLIMIT"
	if os.Getenv("GOMEMLIMIT") == "" {
		least, group, err := cgroupMemory("/proc/self/cgroup", "/sys/fs/cgroup")
		if err != nil {
			log.Warn("the control group's memory limit is not known", "component", "nocturne", "err", err)
		}
		if from = group; least > 0 {
			debug.SetMemoryLimit(int64(float64(least) * memoryShare))
		}
	}
	limit := debug.SetMemoryLimit(-1)
	metrics.GetOrCreateGauge(`nocturne_memory_limit_bytes`, nil).Set(gaugeOfLimit(limit))
	if limit < math.MaxInt64 {
		log.Info("memory is limited", "component", "nocturne", "bytes", limit, "from", from)
	}
}

// gaugeOfLimit is 0 where there is no limit.
func gaugeOfLimit(limit int64) float64 {
	if limit == math.MaxInt64 {
		return 0
	}
	return float64(limit)
}

// cgroupMemory returns the smallest memory limit of the process's control
// group and of those above it, and which of them has it; 0 for none. list is
// /proc/self/cgroup, root where the groups are mounted. In a container the
// paths of the list may be those of the machine: then the mounted root is the
// container's own group.
func cgroupMemory(list, root string) (least int64, group string, err error) {
	file, err := os.Open(list)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil // no control groups here
	}
	if err != nil {
		return 0, "", err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// hierarchy:controllers:path; version 2 has hierarchy 0 and no controllers.
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			return 0, "", fmt.Errorf("%s: no control group in %q", list, lines.Text())
		}
		dir, name := root, "memory.max"
		switch {
		case parts[0] == "0" && parts[1] == "":
			if _, err := os.Stat(filepath.Join(root, "unified")); err == nil {
				dir = filepath.Join(root, "unified")
			}
		case strings.Contains(","+parts[1]+",", ",memory,"):
			dir, name = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		for p := path.Clean("/" + parts[2]); ; p = path.Dir(p) {
			n, err := readMemoryLimit(filepath.Join(dir, p, name))
			if err != nil {
				return 0, "", err
			}
			if n > 0 && (least == 0 || n < least) {
				least, group = n, filepath.Join(dir, p, name)
			}
			if p == "/" {
				break
			}
		}
	}
	return least, group, lines.Err()
}

// readMemoryLimit returns 0 where there is no such group, or no limit. Version
// 1 writes none as a number near the largest.
func readMemoryLimit(name string) (int64, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(b))
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number of bytes", name, text)
	}
	if n > math.MaxInt64/2 {
		return 0, nil
	}
	return n, nil
}
