// Package promapi answers /api/v1/query, query_range, series, labels and
// label/NAME/values over a tsdb.DB exactly as Prometheus does: the same
// parameters, bodies, error types, status codes, warnings and infos, so that
// what speaks to Prometheus speaks to nocturne.
//
// The reference is Prometheus v0.315 (3.x), web/api/v1. Its own package is not
// imported because it brings scraping, discovery and remote storage along.
package promapi
