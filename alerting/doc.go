// Package alerting judges: it evaluates rules over the history, carries each
// alert from pending over firing to resolved, tells receivers, and gives the
// one answer to "what state is this item in, now or then".
//
// # Rules
//
// Rule files are Prometheus' own. A rule that does not parse is reported with
// its file, line, group and name; the other rules work.
//
// # What resolves an alert
//
// A firing alert resolves only when its rule was seen to be false: every
// series that it rests on has a sample newer than the last evaluation that was
// true. Where that is not so, the alert keeps firing and is marked Stale. A
// series that ended (a staleness marker) counts as seen when its target was
// polled successfully at that time or later: the target was asked, and no
// longer has it. An alert whose target was removed resolves and says so.
//
// What an alert rests on is found in its rule's expression: each vector
// selector, narrowed by those labels of the alert that pass from the selector
// to the result (see rests.go).
//
// # Records
//
//	table alert              one record an episode; its phase is the truth
//	log   alert.transition   every change of phase, once (key: episode/phase)
//	table alert.incident     the episodes of one item that overlap
//	table alert.maintenance  windows
//	table alert.receiver     what a receiver is still to be told, by incident
//	table alert.cursor       how far ledger and receivers have read the log
//
// The record of an episode is written first, then the log; at a start the log
// gets what a crash kept from it. Both happen before the change is shown, and
// notifications are read from the log.
//
// A pending alert keeps its ActiveAt over a restart: time during which nobody
// evaluated counts towards `for` when the condition holds before and after.
package alerting
