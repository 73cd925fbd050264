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

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"
	"google.golang.org/protobuf/proto"

	"nocturne/internal/glob"
)

// damagedFile refuses a folder before anything in it is changed.
func damagedFile(path string, err error) error {
	return fmt.Errorf("%w: %s: %w; nothing was changed: put that file back as it was, or restore a backup", errDamagedFile, path, err)
}

var errDamagedFile = errors.New("a file is damaged")

// checkFiles looks at Badger's files before Badger does. It would end the
// process over a table that is cut, delete tables that a damaged MANIFEST no
// longer names, and make a new, empty database where the MANIFEST is gone.
func checkFiles(dir string, log *slog.Logger) error {
	tables, err := glob.In(dir, "*.sst")
	if err != nil {
		return err
	}
	logs, err := glob.In(dir, "*.mem")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, badger.ManifestFilename)
	named, err := readManifest(path, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(tables)+len(logs) == 0:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return damagedFile(path, errors.New("it is missing"))
	case err != nil:
		return damagedFile(path, err)
	}
	newest := uint64(0) // version in the tables that are named
	for id, t := range named {
		path := table.NewFilename(id, dir)
		version, err := checkTable(path, t.Compression)
		if errors.Is(err, fs.ErrNotExist) {
			return damagedFile(path, fmt.Errorf("it is missing, or %s is damaged, which names it", badger.ManifestFilename))
		}
		if err != nil {
			return damagedFile(path, err)
		}
		newest = max(newest, version)
	}
	if err := errors.Join(checkUnnamed(path, tables, named, logs, newest), checkOthers(dir)); err != nil {
		return err
	}
	if err := settleLogs(dir); err != nil {
		return err
	}
	return errors.Join(keepNumbers(dir, log), shieldNewestLog(dir, log), dropCutStatistics(dir))
}

const (
	registryName = "KEYREGISTRY"
	registryIV   = 16 // bytes before the text
	registryText = "Hello Badger"
)

// checkOthers looks at the beginnings of the files that Badger would not name,
// or would change.
func checkOthers(dir string) error {
	path := filepath.Join(dir, registryName)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && (len(data) < registryIV || !bytes.HasPrefix(data[registryIV:], []byte(registryText))) {
		return damagedFile(path, fmt.Errorf("%w: it does not begin as it should", ErrDamaged))
	}
	return checkValueLogs(dir)
}

// readManifest reads which tables there should be. Its torn end, if any, is for
// Badger to cut.
func readManifest(path, dir string) (named map[uint64]badger.TableManifest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer recovered(&err)
	m, _, err := badger.ReplayManifestFile(f, 0, badgerOptions(Options{Dir: dir}, slog.New(slog.DiscardHandler)))
	return m.Tables, err
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %.200v", ErrDamaged, p)
	}
}

// checkUnnamed looks at the tables that the MANIFEST does not name, and Badger
// deletes. A kill leaves some: the records of each are also in a table that is
// named, or in a log that was about to become this table. Any other was named
// before the MANIFEST was cut.
func checkUnnamed(manifest string, tables []string, named map[uint64]badger.TableManifest, logs []string, newest uint64) error {
	for _, path := range tables {
		id, ok := table.ParseFileID(path)
		if _, is := named[id]; is || !ok {
			continue
		}
		version, err := checkTable(path, options.Snappy)
		if err != nil {
			continue // was being written
		}
		if version <= newest {
			continue
		}
		held, err := inLogs(path, logs)
		if err != nil {
			return err
		}
		if !held {
			return damagedFile(manifest, fmt.Errorf("it does not name %s, whose records are nowhere else", filepath.Base(path)))
		}
	}
	return nil
}

// inLogs tells whether each record of a table is in a write-ahead log, in just
// that version: the value log's collector puts old versions there too.
func inLogs(path string, logs []string) (held bool, err error) {
	defer recovered(&err)
	logged := map[string]bool{}
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		for at := min(walHeader, len(data)); ; {
			n, key := walEntry(data[at:])
			if n == 0 {
				break
			}
			at += n
			logged[string(key)] = true
		}
	}
	mapped, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	t, err := table.OpenTable(mapped, table.Options{ReadOnly: true, Compression: options.Snappy, BlockSize: blockSize})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, mapped.Close(-1)) }()
	it := t.NewIterator(0)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if !logged[string(it.Key())] {
			return false, nil
		}
	}
	return true, nil
}

// blockSize is of no account for reading, but may not be 0.
const blockSize = 4 << 10

// checkTable holds a table against its checksums, and returns the newest
// version in it.
func checkTable(path string, c options.CompressionType) (version uint64, err error) {
	defer recovered(&err)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if err := checkIndex(data); err != nil {
		return 0, err
	}
	// Only now: Badger ends the process where lengths lead out of the file.
	mapped, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	t, err := table.OpenTable(mapped, table.Options{ReadOnly: true, ChkMode: options.OnTableRead, Compression: c, BlockSize: blockSize})
	if err != nil {
		return 0, err
	}
	version = t.MaxVersion()
	// Not t.DecrRef: it deletes the file of a table that nobody uses.
	return version, mapped.Close(-1)
}

// checkIndex checks the end of a table: the index, its length, its checksum, and
// the length of that.
func checkIndex(data []byte) error {
	const field = 4
	end := len(data) - field
	if end < field {
		return fmt.Errorf("%w: %d bytes are no table", ErrDamaged, len(data))
	}
	sumLength := int(binary.BigEndian.Uint32(data[end:]))
	if sumLength > end-field {
		return fmt.Errorf("%w: its end is not that of a table", ErrDamaged)
	}
	var sum pb.Checksum
	if err := proto.Unmarshal(data[end-sumLength:end], &sum); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	end -= sumLength + field
	length := int(binary.BigEndian.Uint32(data[end:]))
	if length == 0 || length > end {
		return fmt.Errorf("%w: its end is not that of a table", ErrDamaged)
	}
	return y.VerifyChecksum(data[end-length:end], &sum)
}

// dropCutStatistics removes the file of how much of each value log is garbage,
// where it is not whole: Badger would read beyond its end. It is made anew.
func dropCutStatistics(dir string) error {
	const name, size = "DISCARD", 1 << 20
	path := filepath.Join(dir, name)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && st.Size() < size {
		err = os.Remove(path)
	}
	return err
}
