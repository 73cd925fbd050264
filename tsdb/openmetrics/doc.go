// Package openmetrics writes samples as OpenMetrics text and makes blocks of
// such text.
//
// Dump writes one line a sample, the samples of a series together and in
// order, and "# EOF" last:
//
//	node_load1{instance="a:9100",job="node"} 0.25 1763880120.005
//	{"metric.with.dots",site="b"} +Inf 1763880120
//
// Values are written with as many digits as it takes to read the same bits
// again, but all NaNs become one. Staleness markers are NaNs that mean "the
// series ends here"; the format has no word for them, so they are written as
// NaN with an exemplar that Import knows and that others pass over:
//
//	up{job="node"} NaN 1763880120 # {stale="true"} 1
//
// There are no TYPE lines: history does not know the types, and a series
// without one is of type unknown. Native histograms cannot be written as text;
// Dump counts them.
//
// Import reads the same, what promtool writes, and any OpenMetrics text whose
// samples carry timestamps. It reads its input once, spreads the samples over
// one file for each block's time, and makes the blocks one after the other, so
// that it holds in memory the labels of all series and the samples of one
// block alone. Exemplars and metadata are passed over.
package openmetrics
