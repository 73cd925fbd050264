// Package tsdb remembers samples and answers PromQL over them.
//
// DB is a prometheus/tsdb store with what an operator needs around it:
//
//   - Append counts what it rejects, sample by sample, and fails only when the
//     store itself does.
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
//   - With Options.Remote it is a short buffer before another store, which
//     then answers what is asked; see
//     docs/decisions/0003-reading-from-a-remote-store.md.
//
// All methods are safe for concurrent use. On disk, Dir is an ordinary
// Prometheus data folder, except for damaged-log-* (kept logs), *.damaged and
// log-opening (links to the log while it is replayed).
package tsdb
