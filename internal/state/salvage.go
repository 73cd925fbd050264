package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"nocturne/internal/glob"
)

// Badger's write-ahead logs are the files *.mem: a header of 20 bytes, then
// entries: meta, user meta, uvarint key length, uvarint value length, uvarint
// expiry, key, value, CRC-32C of all that. A transaction ends with an entry of
// the key txnEnd. Replay stops at the first entry that does not hold and drops
// the rest without a word.
const walHeader = 20

var (
	txnEnd     = []byte("!badger!txn")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// salvage looks at the files in dir before Badger does. One that is damaged
// refuses the folder (checkFiles), but for the write-ahead logs: where whole
// transactions stand behind a place that does not hold, which no crash of the
// process leaves, it keeps a copy of the file as NAME.damaged-TIME, says so,
// and cuts the file there; Badger would drop that part, and trust the lengths
// it finds in it. It does nothing while another process has the folder.
func salvage(dir string, log *slog.Logger) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // and with it the lock, which Badger takes next
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // Badger tells who has it
	}
	if err := checkFiles(dir, log); err != nil {
		return err
	}
	files, err := glob.In(dir, "*.mem")
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range files {
		if err := salvageFile(name, log); err != nil {
			errs = append(errs, fmt.Errorf("check %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func salvageFile(name string, log *slog.Logger) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	end := walEnd(data)
	rest := bytes.TrimRight(data[end:], "\x00")
	lost := bytes.Count(rest, txnEnd)
	if lost == 0 {
		return nil // at most a torn transaction that nobody was told of
	}
	kept := fmt.Sprintf("%s.damaged-%d", name, time.Now().UnixNano())
	if err := writeDurably(kept, data[:end+len(rest)]); err != nil {
		return err
	}
	log.Error("state was damaged, the last transactions could not be replayed",
		"file", name, "offset", end, "transactions", lost, "copy", kept)
	return os.Truncate(name, int64(end))
}

func writeDurably(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// walEnd returns where the last whole transaction ends.
func walEnd(data []byte) int {
	end := min(walHeader, len(data))
	for at := end; ; {
		n, key := walEntry(data[at:])
		if n == 0 {
			return end
		}
		if at += n; isTxnEnd(key) {
			end = at
		}
	}
}

// isTxnEnd tells whether an entry of that key ends a transaction.
func isTxnEnd(key []byte) bool { return bytes.HasPrefix(key, txnEnd) }

// walEntry returns the length of the entry that data begins with, 0 when it
// does not hold, and its key.
func walEntry(data []byte) (n int, key []byte) {
	if len(data) < 2 {
		return 0, nil
	}
	at := 2
	var lengths [3]uint64
	for i := range lengths {
		v, n := binary.Uvarint(data[at:])
		if n <= 0 {
			return 0, nil
		}
		lengths[i] = v
		at += n
	}
	keyLength, value := lengths[0], lengths[1]
	if keyLength == 0 || keyLength > 1<<16 || value > uint64(len(data)) || uint64(at)+keyLength+value+4 > uint64(len(data)) {
		return 0, nil
	}
	n = at + int(keyLength+value)
	if crc32.Checksum(data[:n], castagnoli) != binary.BigEndian.Uint32(data[n:]) {
		return 0, nil
	}
	return n + 4, data[at : at+int(keyLength)]
}

// Damaged returns the copies that were kept of damaged files, oldest first.
func (db *DB) Damaged() ([]string, error) {
	if db.badger.Opts().InMemory {
		return nil, nil
	}
	found, err := glob.In(db.badger.Opts().Dir, "*.damaged-*")
	slices.Sort(found)
	return found, err
}
