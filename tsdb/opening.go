package tsdb

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/resident"
	"nocturne/tsdb/folder"
)

// findings are what opening found damaged.
type findings struct {
	aside []string // names in the folder
	lost  []LostLog
}

// parts are what is ours around the library's store, from before it opens.
type parts struct {
	room   *room
	checks *blockChecks
	faults *logFaults
	logs   *logSync
	first  *firstFile
}

func newParts(o Options, log *slog.Logger) parts {
	return parts{
		room: newRoom(o.Dir, o.MinFree, log), checks: &blockChecks{dir: o.Dir, log: log}, faults: new(logFaults),
		logs: newLogSync(o.Dir), first: &firstFile{dir: o.Dir},
	}
}

// openStore opens the library's store after what would keep it from opening,
// or would have it open wrongly, is put aside or right. On a full disk it
// gives up the reserve for as long.
func openStore(o Options, p parts, log *slog.Logger) (_ *tsdb.DB, f findings, err error) {
	room := p.room
	room.look()
	if had := room.reserved(); room.check() != nil && had > 0 {
		log.Warn("opening on a full disk with what was kept in reserve", "bytes", had)
		if err := room.release(); err != nil {
			return nil, f, err
		}
		defer room.reserve(had)
	}
	known := readLogSizes(o.Dir)
	if err := dropMarkedMapped(o.Dir); err != nil {
		return nil, f, err
	}
	mapped, err := dropDamagedMapped(o.Dir, known, log)
	if err != nil {
		return nil, f, err
	}
	lost, kept, err := repairLogs(o.Dir, known, mapped, log)
	if err != nil {
		return nil, f, err
	}
	if kept != "" {
		f.aside = append(f.aside, kept)
	}
	aside, err := setPointsAside(o.Dir, log)
	if err != nil {
		return nil, f, err
	}
	if err := p.checks.now(); err != nil {
		return nil, f, err
	}
	s := settings(o)
	s.StripeSize = stripes(o.Dir)
	s.NewCompactorFunc = compactorFunc(p, o.compacting(), log)
	s.PostingsDecoderFactory = p.checks.decoder
	s.BlockQuerierFunc, s.BlockChunkQuerierFunc = blockQuerier, blockChunkQuerier
	inner, cut, err := openRepaired(o.Dir, s, p, log)
	if err == nil {
		forgetMapped(o.Dir, log)
	}
	f.lost, f.aside = lost, append(append(f.aside, aside...), cut...)
	return inner, f, err
}

// forgetMapped gives back what the opening read of the mapped chunks, all of
// them. It comes before anything is appended or written as a block, after which
// the library may unmap some.
func forgetMapped(dir string, log *slog.Logger) {
	under, err := filepath.EvalSymlinks(filepath.Join(dir, mappedFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return // nothing was mapped yet
	}
	if err == nil {
		under, err = filepath.Abs(under)
	}
	if err == nil {
		_, err = resident.Release(func(path string) bool { return filepath.Dir(path) == under })
	}
	if err != nil {
		log.Warn("the mapped chunks that were read stay in memory", "err", err)
	}
}

// openRepaired opens the library's store, again after each repair of a log:
// one that cut the log of samples in order has not read the log of late ones,
// and would drop it at the next compaction.
func openRepaired(dir string, s *tsdb.Options, p parts, log *slog.Logger) (*tsdb.DB, []string, error) {
	var aside []string
	for range 1 + len(logFolders) {
		kept, err := keepLogs(dir, log)
		if err != nil {
			return nil, nil, err
		}
		p.faults.drop()
		if err := p.first.opening(); err != nil {
			return nil, nil, err
		}
		inner, err := tsdb.Open(dir, log, p.faults, s, nil)
		if err != nil {
			return nil, nil, err // the links stay for the next opening to judge
		}
		cut, err := kept.settle(log.With("newest_sample_left", time.UnixMilli(inner.Head().MaxTime()).UTC()))
		if err == nil && len(cut) == 0 {
			p.first.db.Store(inner)
			return inner, aside, nil
		}
		aside = append(aside, cut...)
		if err := errors.Join(err, inner.Close()); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("the log is damaged after each repair; see %v", aside)
}

const fewestStripes, mostStripes = 1024, tsdb.DefaultStripeSize

// stripes is into how many parts the head's table of series is cut: about as
// many as an eighth of the series in the newest block. Too few make a lookup
// slow, and the library's default costs a small hall ten megabytes. Without a
// block it is the default.
func stripes(dir string) int {
	blocks, err := folder.Blocks(dir)
	if err != nil {
		return mostStripes
	}
	n, newest := mostStripes, int64(math.MinInt64)
	for _, name := range blocks {
		m, err := folder.Meta(filepath.Join(dir, name))
		if err != nil || m.MaxTime < newest || m.Compaction.FromOutOfOrder() {
			continue
		}
		newest, n = m.MaxTime, fewestStripes
		for n < mostStripes && uint64(n) < m.Stats.NumSeries/8 {
			n *= 2
		}
	}
	return n
}
