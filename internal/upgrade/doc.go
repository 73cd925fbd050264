// Package upgrade knows which version of the program a data folder is of, brings
// one of an earlier version up to this one, and takes that back.
//
// A folder's format is a number. It goes up when a program that knew the
// earlier one would read what is stored wrongly, or not at all: when a kind of
// record gets another schema version (package state), or files change their
// names or meaning. It stands in DATA/format, as JSON:
//
//	format    the number
//	program   the version of the program that first wrote this format here
//	since     when that was
//	pending   while an upgrade is under way: the format it leads to
//	previous  what was before the last upgrade, and the file that state is kept in
//	undo      while an upgrade is being taken back
//
// A folder with state and without that file is of format 1.
//
// # Upgrading
//
// Each step is durable before the next, and whoever is killed in between goes
// on at the next start:
//
//  1. all of state is exported to DATA/state-before-FORMAT.export, read back and
//     compared, before anything else is written;
//  2. pending is noted: from here on earlier programs refuse, but for those of
//     format 1, which do not look;
//  3. every record is brought up to its schema version;
//  4. the new format is noted.
//
// History is left alone: its blocks are as Prometheus writes them.
package upgrade
