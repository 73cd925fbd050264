package tsdb

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"nocturne/internal/glob"
)

// logPlace is a folder of the log as it is replayed: the last checkpoint, the
// log, and that of late samples, in this order.
type logPlace struct {
	path     string
	segments []int // that are there and are replayed
	missing  []int // that should be there
	gone     bool  // a checkpoint that is not there at all
}

// logPlaces lists the folders of the logs, and what is missing there by what
// is left and by the sizes known. A log begins after the last checkpoint, which
// stands for what was truncated, and that of late samples at the segment noted
// when it was last truncated.
func logPlaces(dir string, known map[string]int64) ([]logPlace, error) {
	wal, wbl := filepath.Join(dir, logFolders[0]), filepath.Join(dir, logFolders[1])
	all, err := segmentsFrom(wal, 0)
	if err != nil {
		return nil, err
	}
	last, err := lastCheckpoint(wal)
	if err != nil {
		return nil, err
	}
	var places []logPlace
	if last >= 0 {
		places = append(places, logPlace{path: checkpointPath(wal, last)})
	} else if last = missingCheckpoint(all, known); last >= 0 {
		places = append(places, logPlace{path: checkpointPath(wal, last), missing: []int{0}, gone: true})
	}
	places = append(places, logPlace{path: wal}, logPlace{path: wbl})
	for i := range places {
		p := &places[i]
		if p.gone {
			continue
		}
		first := 0
		switch p.path {
		case wal:
			first = last + 1
		case wbl:
			first = int(known[lateFirst])
		}
		if p.segments, err = segmentsFrom(p.path, 0); err != nil {
			return nil, err
		}
		if p.path == wal {
			p.segments = slices.DeleteFunc(p.segments, func(n int) bool { return n < first })
		}
		p.missing = missingSegments(*p, first, last >= 0 && p.path == wal, dir, known)
	}
	return places, nil
}

// missingSegments lists those between the ones that are there, those known that
// held something, and, where the first is sure to be there, those before.
func missingSegments(p logPlace, first int, sure bool, dir string, known map[string]int64) []int {
	var missing []int
	if n := len(p.segments); n > 0 {
		from := p.segments[0]
		if sure {
			from = first
		}
		for i := from; i < p.segments[n-1]; i++ {
			missing = append(missing, i)
		}
	}
	for name, size := range known {
		if n := numberOf(name); n >= first && size > 0 && filepath.Join(dir, filepath.Dir(name)) == p.path {
			missing = append(missing, n)
		}
	}
	// What is known may lie far from what is there, and a log has no gaps.
	if all := slices.Concat(p.segments, missing); len(missing) > 0 {
		for n, last := slices.Min(all), slices.Max(all); n < last; n++ {
			missing = append(missing, n)
		}
	}
	slices.Sort(missing)
	return slices.DeleteFunc(slices.Compact(missing), func(n int) bool { return slices.Contains(p.segments, n) })
}

// missingCheckpoint is the number of the checkpoint, of which there is none,
// that stood for the segments before those that are there; -1 if none did.
func missingCheckpoint(segments []int, known map[string]int64) int {
	gone := -1
	for name := range known {
		if folder := filepath.Dir(name); filepath.Dir(folder) == logFolders[0] {
			gone = max(gone, checkpointNumber(folder))
		}
	}
	switch {
	case len(segments) == 0:
		return gone
	case segments[0] <= gone: // not truncated yet
		return -1
	}
	return max(gone, segments[0]-1)
}

func lastCheckpoint(wal string) (int, error) {
	points, err := glob.In(wal, checkpointPrefix+"*")
	last := -1
	for _, p := range points {
		last = max(last, checkpointNumber(p))
	}
	return last, err
}

// checkpointNumber is the number of the last segment that a checkpoint stands
// for, -1 for the path of something else.
func checkpointNumber(path string) int {
	digits, ok := strings.CutPrefix(filepath.Base(path), checkpointPrefix)
	if n, err := strconv.Atoi(digits); ok && err == nil {
		return n
	}
	return -1
}

func checkpointPath(wal string, n int) string {
	return filepath.Join(wal, checkpointPrefix+filepath.Base(segmentPath("", n)))
}
