// Package automation runs runbooks on hosts, and never runs a command twice
// without saying so.
//
// A job is one runbook with its parameters on some hosts. Each host is a task
// that works through the runbook's steps in order; each step goes through
//
//	ready -> leased(token) -> connecting -> sent -> ok | failed | unknown
//
// and each arrow is durable before the next thing happens. "sent" is durable
// before the command leaves: what is interrupted earlier is simply tried again,
// what is interrupted at or after it, without an exit status, is unknown. An
// unknown step is run again only when the runbook declares it idempotent, or
// when its probe, a command that only looks, says that it took no effect. Such
// a step is sent inside a fence: a mark on the host by which the probe waits
// for a command that still runs, and keeps one from beginning late.
//
// Records decide. The queue is a hint of what could be done next and may
// deliver twice; every write of a task's record is a compare-and-swap that
// carries the token of its lease, so one who lost the lease cannot write, and
// therefore cannot send.
//
// A task is started when its host, a slot of its region and a slot of the whole
// are free, all taken in one decision, so nobody holds one while waiting for
// another. Regions take turns and each has a reserved minimum, so a dead region
// delays nobody else; one whose hosts cannot be reached shrinks to two probes
// until a connection succeeds again.
//
// Every transition is an entry of kind "job" in the ledger with subject
// "job/ID" and the job's incident.
package automation
