// Package remotewrite takes samples in by Prometheus' remote-write protocols
// 1.0 and 2.0 (https://prometheus.io/docs/specs/prw/remote_write_spec/ and
// remote_write_spec_2_0/), snappy in block format.
//
// A request is decoded where it lies: the series that its raw labels name is
// found by a keyed 128-bit hash of theirs in a cache of references, so that a
// known series costs no allocation. Only a series that is new to the cache has
// its labels built.
//
// Answers are those of Prometheus' own receiver, and once a body could be
// decoded whatever of it can be stored is stored:
//
//   - 204: all samples are stored and survive a kill of the process. A power
//     cut may take what came in the last half second, which is how often the
//     store syncs; no request waits for that.
//   - 400: the body is no snappy or no protobuf (nothing is stored), or some
//     samples were rejected: late, duplicate, in the future, wrong labels, over
//     a limit. All the others are stored, so that a sender that does not send
//     again what was answered with 400 loses nothing else. The body names the
//     first of them.
//   - 413, 415: the body is too large, of another type or encoding.
//   - 500: the store failed; senders try again, and what was stored before the
//     failure is not stored twice.
//   - 503 with Retry-After: the store is read-only, as on a full disk, or there
//     are more requests than may be decoded at once. The specifications have
//     senders try again after any 5xx.
//
// It differs from Prometheus 3.15 in version 1.0 alone, where that drops a
// whole request for one late sample, and answers 204 where it has left out a
// series for its labels.
//
// Exemplars are not stored: they are counted, and answered as 0 written.
package remotewrite
