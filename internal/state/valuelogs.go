package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"nocturne/internal/glob"
)

// valueLogHead is the length of a value log without an entry.
const valueLogHead = walHeader

// checkValueLogs refuses one that ends within its beginning, but for the newest,
// which a kill may have left so.
func checkValueLogs(dir string) error {
	logs, err := glob.In(dir, "*.vlog")
	if err != nil || len(logs) == 0 {
		return err
	}
	for _, path := range logs[:len(logs)-1] {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if n := st.Size(); n > 0 && n < valueLogHead {
			return damagedFile(path, fmt.Errorf("%w: it is cut to %d bytes", ErrDamaged, n))
		}
	}
	return nil
}

// settleLogs makes right what a kill leaves of logs: Badger makes one and gives
// it its length then, and takes its length before it removes it. It refuses to
// open one without a byte in it.
func settleLogs(dir string) error {
	logs, err := glob.In(dir, "*.vlog")
	if err != nil {
		return err
	}
	for n, path := range logs {
		st, err := os.Stat(path)
		switch {
		case err != nil:
			return err
		case st.Size() >= valueLogHead:
		case n == len(logs)-1:
			// Not removed, or the next one would have its number, and what points into it
			// would be read from that. Badger writes to none that it finds.
			if err := os.Truncate(path, valueLogHead); err != nil {
				return err
			}
		default:
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	logs, err = glob.In(dir, "*.mem")
	for _, path := range logs {
		st, serr := os.Stat(path)
		if serr == nil && st.Size() == 0 {
			serr = os.Remove(path)
		}
		err = errors.Join(err, serr)
	}
	return err
}

// newestLogName is the file that says which number the newest value log had.
// Numbers must not come again: what points into a log that is gone would be
// read from the one that has its number.
const newestLogName = "newest-vlog"

// keepNumbers has the next value log get a number that none had, where the
// newest is gone.
func keepNumbers(dir string, log *slog.Logger) error {
	text, err := os.ReadFile(filepath.Join(dir, newestLogName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	had, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return damagedFile(filepath.Join(dir, newestLogName), err)
	}
	now, err := newestLog(dir)
	if err != nil || now >= had {
		return err
	}
	log.Error("the newest value log is gone: large values in it cannot be read", "number", had)
	return os.WriteFile(valueLogPath(dir, had), make([]byte, valueLogHead), 0o600)
}

// noteNewestLog remembers the number of the newest value log.
func noteNewestLog(dir string) error {
	n, err := newestLog(dir)
	if err != nil || n == 0 {
		return err
	}
	path := filepath.Join(dir, newestLogName)
	if text, err := os.ReadFile(path); err == nil && string(text) == strconv.Itoa(n) {
		return nil
	}
	tmp := path + ".tmp"
	if err := errors.Join(os.RemoveAll(tmp), writeDurably(tmp, []byte(strconv.Itoa(n)))); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func newestLog(dir string) (n int, err error) {
	logs, err := glob.In(dir, "*.vlog")
	for _, path := range logs {
		if i, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".vlog")); err == nil {
			n = max(n, i)
		}
	}
	return n, err
}

func valueLogPath(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("%06d.vlog", n)) }

// shieldNewestLog puts an empty value log behind the newest where an entry in the
// midst of that is damaged: Badger cuts the newest at the first entry that does
// not hold, and with it good ones.
func shieldNewestLog(dir string, log *slog.Logger) error {
	n, err := newestLog(dir)
	if err != nil || n == 0 {
		return err
	}
	path := valueLogPath(dir, n)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data = bytes.TrimRight(data, "\x00")
	at := min(valueLogHead, len(data))
	for {
		n, _ := walEntry(data[at:])
		if n == 0 {
			break
		}
		at += n
	}
	if !entryBehind(data[at:]) {
		return nil // at most the end of one that nobody was told of
	}
	log.Error("a value log is damaged: large values in it may not be readable", "file", path, "offset", at)
	return os.WriteFile(valueLogPath(dir, n+1), make([]byte, valueLogHead), 0o600)
}

// entryBehind tells whether a whole entry of a record follows what does not hold.
func entryBehind(data []byte) bool {
	for at := 1; at < len(data); at++ {
		if !likeRecord(data[at:]) {
			continue // the checksum of every length that there might be would take for ever
		}
		if n, _ := walEntry(data[at:]); n > 0 {
			return true
		}
	}
	return false
}

// likeRecord tells whether an entry that begins here would have a record's key.
func likeRecord(data []byte) bool {
	at := min(2, len(data))
	var lengths [3]uint64
	for i := range lengths {
		v, n := binary.Uvarint(data[at:])
		if n <= 0 {
			return false
		}
		lengths[i] = v
		at += n
	}
	key := lengths[0]
	if key < 9 || key > 2*maxIDLength || lengths[2] != 0 || uint64(at)+key > uint64(len(data)) {
		return false
	}
	return bytes.IndexByte([]byte("rl"), data[at]) >= 0 && bytes.IndexByte(data[at:at+int(key)], 0) > 0
}
