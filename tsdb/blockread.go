package tsdb

import (
	"fmt"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

var damagedChunks = metrics.GetOrCreateCounter(`nocturne_tsdb_damaged_chunks_read_total`)

// namedBlock is a block whose damaged chunks say where they are. The library
// compares a chunk's checksum only when it is read, and then names no block.
type namedBlock struct{ *tsdb.Block }

// Chunks implements tsdb.BlockReader.
func (b namedBlock) Chunks() (tsdb.ChunkReader, error) {
	r, err := b.Block.Chunks()
	return namedChunks{r, b.Block}, err
}

type namedChunks struct {
	tsdb.ChunkReader
	block *tsdb.Block
}

// ChunkOrIterable implements tsdb.ChunkReader.
func (r namedChunks) ChunkOrIterable(m chunks.Meta) (chunkenc.Chunk, chunkenc.Iterable, error) {
	c, it, err := r.ChunkReader.ChunkOrIterable(m)
	if err != nil {
		damagedChunks.Inc()
		segment, offset := chunks.BlockChunkRef(m.Ref).Unpack()
		err = fmt.Errorf("damaged chunk in %s/chunks/%06d at %d: %w: restore the block from a backup, or delete it",
			r.block.Meta().ULID, segment+1, offset, err)
	}
	return c, it, err
}

func named(b tsdb.BlockReader) tsdb.BlockReader {
	if block, ok := b.(*tsdb.Block); ok {
		return namedBlock{block}
	}
	return b
}

func blockQuerier(b tsdb.BlockReader, mint, maxt int64) (storage.Querier, error) {
	return tsdb.NewBlockQuerier(named(b), mint, maxt)
}

func blockChunkQuerier(b tsdb.BlockReader, mint, maxt int64) (storage.ChunkQuerier, error) {
	return tsdb.NewBlockChunkQuerier(named(b), mint, maxt)
}
