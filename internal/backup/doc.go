// Package backup is one backup of everything: state with the ledger, history,
// and the files of the configuration, at a [Store].
//
// A generation is a whole one, or a point. A whole one holds all. A point holds
// state alone, mostly as what changed since the generation before, and stands
// on the whole one that is the newest then; points are cheap, so they can be
// minutes apart. Restoring a point gives state as of the point on the history
// of its whole one.
//
// What a store holds:
//
//	generations/NAME.json          what a generation is made of, written last
//	generations/NAME.json.sha256   as sha256sum writes it, written before
//	parts/NAME/...                 its own files: state.export, history/, configuration/
//	blocks/ULID/...                chunks and indexes of the history, shared by all
//
// NAME is the time of the snapshot and the kind: 20261130T064200.000Z.whole. A
// generation without its manifest was cut short and counts as none.
//
// # What is consistent with what
//
// The snapshot of state is taken first; one read transaction gives all records
// and logs of one moment, and the manifest's ledger head is read in it. The
// picture of the history is taken after it, so it holds every sample that a
// record of the snapshot speaks of; samples that are newer than the snapshot do
// no harm. The other way round, an alert could stand on samples that are not
// there.
//
// # Keys
//
// Credentials stay sealed as they are in state. The master key is taken only
// when it is asked for, and what the configuration says in clear is struck out
// by who hands its files in.
package backup
