// Package promapi answers Prometheus' HTTP API over a tsdb.DB exactly as
// Prometheus does: the same parameters, bodies, error types, status codes,
// warnings and infos, so that what speaks to Prometheus speaks to nocturne.
//
//	query query_range series labels label/NAME/values   from the history
//	format_query parse_query query_exemplars            of an expression; no exemplars are stored
//	metadata targets targets/metadata scrape_pools      from the collector, and what senders told
//	rules alerts alertmanagers                          from the engine of alerts
//	status/buildinfo runtimeinfo config flags tsdb      of the program, without secrets
//	/federate                                           the last samples, in exposition formats
//	admin/tsdb/delete_series clean_tombstones           change the history, and leave entries in the ledger
//
// What is bounded: the time, the samples in memory, the samples read and the
// number of queries (by tsdb), the points of a range query, the body of a form.
//
// The reference is Prometheus v0.315 (3.15), web and web/api/v1. Its own
// packages are not imported because they bring scraping, discovery and remote
// storage along. The differences are named in peer_test.go.
package promapi
