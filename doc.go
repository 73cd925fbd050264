// Package nocturne is one binary that keeps a data centre and its cloud
// running: it sees (SNMP, OpenStack, Linux hosts), remembers (time series and
// an inventory graph), judges (alerts), acts (guarded jobs over SSH) and shows
// (walls, racks, topology, reports).
//
// The loop, and the package that owns each arrow:
//
//	poll      collector            when to poll; backends snmp, openstack, linux
//	sample    tsdb                 history and PromQL; tsdb/live the last minutes at 1 s
//	fact      internal/inventory   items, relations, which series belong to which item
//	alert     alerting             pending, firing, resolved; Status, the one answer
//	job       automation           runbooks, regions, the state machine of a step
//	proof     automation/remedy    episode to exactly one job, verified by its own rule
//	record    internal/ledger      the one hash-chained record, on internal/state
//	page      internal/web, views  what people see; it judges nothing
//
// cmd/nocturne wires them; arch_test.go holds which package may import which.
package nocturne
