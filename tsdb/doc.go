// Package tsdb remembers samples and answers PromQL over them.
//
// DB is a prometheus/tsdb store with what an operator needs around it:
//
//   - Append counts what it rejects, sample by sample and by reason, and fails
//     only when the store itself does.
//   - Who appends is a Source: its series and what was rejected of it are
//     counted apart, and Limits hold for each of them and for all. A series
//     counts to the source that created it until the head drops it; one from
//     before Open to whoever appends to it first.
//   - A series is in the log before any sample of it is acknowledged, also
//     where several batches meet a new one. The library leaves that open.
//   - No sample may be further ahead of the clock than Options.MaxAhead, nor
//     the first of an empty store older than Options.MaxAge: either would move
//     the time range of the head to where nobody else is.
//   - A sample is acknowledged in two steps. After Append it survives a kill of
//     the process. After Synced, or at most half a second later while Run is
//     running, it survives a power cut too: the library writes its logs but
//     never syncs them, so DB syncs the segments of wal and wbl itself. Once a
//     sync has failed nothing is acknowledged any more, since the kernel may
//     have dropped the pages that it could not write.
//   - A disk that fills makes the store read-only (ErrReadOnly) before the
//     library meets it, and while it lasts; queries go on. A write of the log
//     that fails all the same has the store opened anew from its log when
//     there is room, since the library writes on behind a record cut short.
//   - Blocks are checked before they are loaded and once a minute, against a
//     meta.sum that each block is given. A damaged one is set aside (renamed
//     with the suffix ".damaged") so that the rest opens; a damaged meta.json
//     is restored. Set-aside material is never deleted by DB.
//   - A damaged log is read on behind the damage, where the library would
//     delete all that follows. The damaged file is kept, and what is lost is
//     told as a LostLog.
//   - Queries are bounded in time, samples and number.
//   - With Options.Remote it is a short buffer before another store, which
//     then answers what is asked; see
//     docs/decisions/0003-reading-from-a-remote-store.md.
//   - Run rolls sealed blocks up to buckets of 5 min and 1 h (package rollup),
//     which are kept longer. No raw block goes for its age before that. A query
//     reads buckets where they give the answer that raw samples would and spare
//     much reading, and where raw samples have expired; its annotations say so.
//
// All methods are safe for concurrent use. On disk, Dir is an ordinary
// Prometheus data folder, except for rollup-5m and rollup-1h, damaged-log-* (kept logs), *.damaged,
// log-opening and log-repair (while the log is replayed or repaired),
// chunks_head.deleted and chunks_head.only (how to read chunks_head), meta.sum
// in each block, log-sizes (how much of each log file is on disk), log-repaired and reserve
// (space for an opening on a full disk).
package tsdb
