// Package state keeps every record of the product that is not a sample:
// inventory, rules, jobs, people, the ledger. It is the only package that
// knows Badger.
//
// A [Table] holds records of one kind under an id. A record has a revision,
// taken from one counter of the whole database, so that a deleted and
// recreated record never has a revision it had before; a write names the
// revision it was based on and is refused with [ErrConflict] where another
// came first. A [Log] is append-only, its entries numbered densely from 1.
//
// What is acknowledged is on disk: a write returns after fsync. One goroutine
// commits; it takes all the writes that wait into one Badger transaction, so
// concurrent writers share an fsync. It is also the only writer, so checks
// made inside the transaction cannot be overtaken. After a commit that failed
// nobody knows what of it is on disk: nothing more is written, every write
// answers [ErrFailed] with the cause, and reading goes on, until a restart.
//
// A value is stored as JSON. A secret.Text in it would be stored as its
// placeholder: seal such values first (package access).
//
// # On disk
//
// Badger's own files, exclusive to one process (flock on the folder, the
// owner's pid in the file LOCK). Keys, where NUL ends a name:
//
//	m                              8 bytes: the last revision given out
//	r KIND NUL ID                  record
//	l NAME NUL SEQ                 log entry; SEQ is 8 bytes, big endian
//	n NAME NUL                     8 bytes: the last SEQ of the log
//	x NAME NUL LEN KEY SEQ         index of a log: empty; LEN is a uvarint, SEQ as above
//	u NAME NUL KEY                 8 bytes: the SEQ that AppendUnique wrote for KEY
//
// The first six bytes of SEQ name a partition of 65,536 entries: old entries
// go by that prefix. Integers are big endian. A record is
//
//	byte    1, the format of this envelope
//	uint16  schema version of the value
//	uint64  revision (record) or time in nanoseconds since 1970 UTC (log entry)
//	...     the value, JSON
//
// # Damage
//
// A torn end of Badger's write-ahead log (kill -9, power cut) costs only
// writes that were not acknowledged. A damaged byte before its end stops the
// replay there: Open keeps a copy of that file as NAME.mem.damaged-TIME, logs
// an error and goes on with what came before; [DB.Damaged] names such copies.
// A damaged table is an error when it is read. Values above 128 KiB are in
// .vlog files: a damaged one is an error naming its record, and so are those
// behind it when it is in the last of these files; the other records go on.
package state
