// Package rollup keeps samples of long ago as buckets of five minutes or an
// hour, in blocks of the library's format, and answers PromQL from them.
//
// A Tier is a folder of such blocks for one width of bucket. Its blocks are
// written from sealed raw blocks, series by series, with the library's
// LeveledCompactor and a BlockPopulator of ours, so that memory does not grow
// with a block. What a tier holds is what its blocks' times say; there is no
// other record. A write that is killed leaves a temporary folder behind and is
// done again.
//
// # Buckets
//
// A bucket is the time (start, end] and exists only where there are samples;
// what is known of it is stamped with its end. For each raw series a block
// holds one series for each Kind, with the same labels and Label. So the
// samples of the tier are those of (MinTime-1, MaxTime-1] of its blocks.
// Staleness markers are no samples of value: they do not count.
//
//   - Last has the last value at the bucket's end when an instant selector
//     would see it there. When it would not, because the last sample is a
//     staleness marker or more than Lookback old, the value stands 1 ms before
//     the end and a staleness marker at the end. So both `x` at the end and
//     last_over_time over whole buckets are what they are on raw.
//   - Total is the increase since the sample before, resets accounted for. Deltas
//     need no continuity from block to block: the reader adds them up. After a
//     gap that is no mere interval between samples, the increase over the gap
//     stands alone 1 ms before the end: windows that span the gap have it, those
//     that begin in it or after it do not, as on raw. Values that are not finite
//     are left out.
//   - An average is the sum by the count, so one whose sum is beyond a float64
//     is infinite or NaN where raw samples would still give a number.
package rollup
