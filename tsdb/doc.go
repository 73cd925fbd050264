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
//   - Open sets a damaged block or checkpoint aside (renamed with the suffix
//     ".damaged") so that the rest opens, and keeps a copy of the log whenever
//     the library has to cut a damaged one, since it deletes all that follows
//     the damage. Set-aside material is never deleted by DB.
//   - Queries are bounded in time, samples and number.
//
// All methods are safe for concurrent use. On disk, Dir is an ordinary
// Prometheus data folder, except for damaged-log-* (kept logs), *.damaged and
// log-opening (links to the log while it is replayed).
package tsdb
