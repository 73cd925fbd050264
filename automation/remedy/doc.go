// Package remedy leads from an alert's episode to exactly one job, its proof,
// and its escalation.
//
// A remedy says which alerts it answers, and with what runbook:
//
//	remedies:
//	- name: restart-service
//	  alert: ServiceDown              # the rule's name
//	  match: {job: linux}             # labels the alert must carry
//	  runbook: restart-service
//	  parameters:
//	    unit: "{{ .Labels.name }}"    # a label that is missing is refused
//	  host: "{{ .Labels.instance }}"  # left out: Options.HostOf tells
//	  target: "{{ .Labels.instance }}" # polled for the proof; this when left out
//	  verify_within: 30s
//
// Templates are Go's, over .Labels, .Annotations, .Value, .Item and .Alert. Of
// the remedies that match an alert the first in the list acts.
//
// # One job an episode
//
// Transitions are read by a durable cursor. Each firing episode gets one case,
// on disk before the cursor moves and before the job is submitted, with the
// whole of what is to be submitted in it. The job's ID is a hash of episode and
// remedy, and a submission is idempotent: wherever a crash falls, the restart
// submits the same job again or finds it.
//
// # The proof
//
// A job whose steps are all ok is verifying. Then the alert's target is polled
// afresh and the alert's own rule evaluated, until it is false on samples newer
// than the last step, or verify_within has passed since that step by the wall
// clock, restarts included. There is at least one whole attempt. A job that failed,
// whose outcome is unknown, or that proves nothing is escalated and never
// repeated.
//
// # Records
//
//	table remedy.case    one an episode that a remedy answers
//	table remedy.cursor  how far the transitions were read
package remedy
