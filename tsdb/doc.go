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
//   - Run rolls sealed blocks up to buckets of 5 min and 1 h (package rollup),
//     which are kept longer. No raw block goes for its age before that. A query
//     reads buckets where they give the answer that raw samples would and spare
//     much reading, and where raw samples have expired; its annotations say so.
//
// All methods are safe for concurrent use. On disk, Dir is an ordinary
// Prometheus data folder, except for rollup-5m and rollup-1h, damaged-log-* (kept
// logs), *.damaged and log-opening (links to the log while it is replayed).
package tsdb
