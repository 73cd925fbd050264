package forward

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"nocturne/tsdb/folder"
)

// position says up to where a receiver has everything. Times are Unix
// milliseconds.
type position struct {
	Seq     uint64 `json:"seq"`
	Segment int    `json:"segment"` // of the log
	Offset  int64  `json:"offset"`  // of the end of a record in the segment
	Print   uint32 `json:"print"`   // CRC-32C of the segment's records before Offset
	First   uint32 `json:"first"`   // where Offset is 0, CRC-32C of the first record; 0 when there was none
	Repairs uint32 `json:"repairs"` // CRC-32C of what Source.Repairs said
	Low     int64  `json:"low"`     // no sample behind the position is older
	Newest  int64  `json:"newest"`  // of the samples before it

	// From and To bound what is to be read from the blocks before the log goes
	// on, both included; nothing when From is above To.
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// beginning is a position before anything.
func beginning() position {
	return position{Low: math.MinInt64, Newest: math.MinInt64, From: 1}
}

func (p *position) behind() bool { return p.From <= p.To }

// owe adds a range that is to be read from the blocks.
func (p *position) owe(from, to int64) {
	switch {
	case from > to:
	case p.behind():
		p.From, p.To = min(p.From, from), max(p.To, to)
	default:
		p.From, p.To = from, to
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// positionBytes is the size of a copy; written over in place, it needs no room
// on a full disk.
const positionBytes = 512

// positionFile keeps a position in two copies, written in turn.
type positionFile struct {
	paths [2]string
	seq   uint64 // of the newest copy
	known [2]bool
}

func newPositionFile(dir, name string) *positionFile {
	return &positionFile{paths: [2]string{filepath.Join(dir, name+".0"), filepath.Join(dir, name+".1")}}
}

// errNoPosition means that a receiver is new, errDamagedPosition that where it
// stood is not known any more.
var (
	errNoPosition      = errors.New("no position yet")
	errDamagedPosition = errors.New("no copy of the position can be read")
)

// load returns the newer readable copy. faults name the unreadable ones.
func (f *positionFile) load() (p position, faults []error, err error) {
	found := false
	for i, path := range f.paths {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		f.known[i] = true
		var got position
		if err == nil {
			got, err = parsePosition(data)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("read position %s: %w", path, err))
			continue
		}
		if !found || got.Seq > p.Seq {
			p, found = got, true
		}
	}
	f.seq = p.Seq
	switch {
	case found:
		return p, faults, nil
	case len(faults) > 0:
		return position{}, faults, errDamagedPosition
	}
	return position{}, nil, errNoPosition
}

func parsePosition(data []byte) (position, error) {
	var p position
	text, sum, ok := strings.Cut(strings.TrimRight(string(data), " \n"), "\n")
	if !ok || len(data) != positionBytes {
		return p, errors.New("is not a position")
	}
	if want := fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli)); sum != want {
		return p, fmt.Errorf("its checksum is %q, not %s", sum, want)
	}
	return p, json.Unmarshal([]byte(text), &p)
}

// save makes p durable over the older copy. After an error the newer copy
// stands as it was.
func (f *positionFile) save(p position) error {
	p.Seq = f.seq + 1
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode position: %w", err)
	}
	line := fmt.Sprintf("%s\n%08x", text, crc32.Checksum(text, castagnoli))
	slot := p.Seq % 2
	if err := writeOver(f.paths[slot], fmt.Appendf(nil, "%-*s\n", positionBytes-1, line)); err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	if !f.known[slot] {
		if err := folder.Sync(filepath.Dir(f.paths[slot])); err != nil {
			return fmt.Errorf("save position: %w", err)
		}
		f.known[slot] = true
	}
	f.seq = p.Seq
	return nil
}

func writeOver(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.WriteAt(data, 0); err == nil {
		// A damaged copy may have been longer.
		err = file.Truncate(int64(len(data)))
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
