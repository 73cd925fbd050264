package tsdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/glob"
	"nocturne/tsdb/folder"
)

const (
	sumName = "meta.sum"
	// wholeIndexBytes is up to which size an index is read whole when a block
	// is checked. In a larger one the library's own checksums, one a series and
	// one a list of postings, tell at reading; Verify reads all of it.
	wholeIndexBytes = 64 << 20
)

// blockSum is what meta.sum beside meta.json says of a block, since meta.json
// has no checksum and no file of a block knows the sizes of the others. On
// disk: the CRC-32C of what follows as eight hexadecimal digits, a newline,
// and this as JSON. It is written after a block is made or first seen; a block
// without one is a block like any other.
type blockSum struct {
	Meta  string           `json:"meta"`  // meta.json, byte by byte
	Index uint32           `json:"index"` // CRC-32C of the index
	Sizes map[string]int64 `json:"sizes"` // of index and chunk files, by path in the block
}

// sumBlock reads what there is to be known of a block.
func sumBlock(dir string) (blockSum, error) {
	meta, err := os.ReadFile(filepath.Join(dir, folder.MetaName))
	if err != nil {
		return blockSum{}, err
	}
	index, err := sumFile(filepath.Join(dir, "index"))
	if err != nil {
		return blockSum{}, err
	}
	sizes, err := blockSizes(dir)
	return blockSum{Meta: string(meta), Index: index, Sizes: sizes}, err
}

func blockSizes(dir string) (map[string]int64, error) {
	sizes := map[string]int64{}
	names, err := glob.In(dir, "chunks", "*")
	if err != nil {
		return nil, err
	}
	for _, name := range append(names, filepath.Join(dir, "index")) {
		st, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return nil, err
		}
		sizes[filepath.ToSlash(rel)] = st.Size()
	}
	return sizes, nil
}

func sumFile(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return 0, err
	}
	return h.Sum32(), nil
}

// write stores s in the block's folder, durably.
func (s blockSum) write(dir string) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(dir, sumName), fmt.Appendf(nil, "%08x\n%s", crc32.Checksum(body, castagnoli), body))
}

// errNoSum: the block has no meta.sum, or one that is damaged itself.
var errNoSum = errors.New("no " + sumName)

func readSum(dir string) (blockSum, error) {
	raw, err := os.ReadFile(filepath.Join(dir, sumName))
	if errors.Is(err, fs.ErrNotExist) {
		return blockSum{}, errNoSum
	}
	if err != nil {
		return blockSum{}, err
	}
	head, body, _ := bytes.Cut(raw, []byte("\n"))
	if want := fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)); string(head) != want {
		return blockSum{}, fmt.Errorf("%w that is whole: checksum %q, expected %s", errNoSum, head, want)
	}
	var s blockSum
	if err := json.Unmarshal(body, &s); err != nil {
		return blockSum{}, fmt.Errorf("%w that is whole: %w", errNoSum, err)
	}
	return s, nil
}

// checkFiles compares the index and the chunk files with s, the index to the
// last byte when whole or when it is small.
func (s blockSum) checkFiles(dir string, whole bool) error {
	sizes, err := blockSizes(dir)
	if err != nil {
		return err
	}
	for name, want := range s.Sizes {
		got, ok := sizes[name]
		if !ok {
			return fmt.Errorf("%s is missing", name)
		}
		if got != want {
			return fmt.Errorf("%s has %d bytes, expected %d", name, got, want)
		}
	}
	if !whole && s.Sizes["index"] > wholeIndexBytes {
		return nil
	}
	got, err := sumFile(filepath.Join(dir, "index"))
	if err == nil && got != s.Index {
		err = fmt.Errorf("index: checksum %08x, expected %08x", got, s.Index)
	}
	return err
}

// metaVerdict says how meta.json compares with what the sum remembers.
type metaVerdict int

const (
	metaSame    metaVerdict = iota
	metaRenewed             // the library has changed what it may change
	metaDamaged
)

func (s blockSum) judgeMeta(raw []byte) metaVerdict {
	if string(raw) == s.Meta {
		return metaSame
	}
	var was, is tsdb.BlockMeta
	if json.Unmarshal([]byte(s.Meta), &was) != nil || json.Unmarshal(raw, &is) != nil {
		return metaDamaged
	}
	// Deleting series and a failed compaction change these, nothing else does.
	for _, m := range []*tsdb.BlockMeta{&was, &is} {
		m.Stats.NumTombstones, m.Compaction.Failed, m.Compaction.Deletable = 0, false, false
	}
	if !reflect.DeepEqual(was, is) {
		return metaDamaged
	}
	return metaRenewed
}

// restoreMeta puts the remembered meta.json in the place of a damaged one,
// which is kept beside it.
func (s blockSum) restoreMeta(dir string) error {
	path := filepath.Join(dir, folder.MetaName)
	if err := os.Rename(path, path+damagedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeDurably(path, []byte(s.Meta))
}

// writeDurably replaces a file so that after a crash it holds either what it
// held before or data.
func writeDurably(path string, data []byte) (err error) {
	tmp := path + ".tmp"
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(path))
}
