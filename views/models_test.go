package views

import (
	"fmt"
	"math"
	"time"

	"github.com/a-h/templ"

	"nocturne/views/admin"
	"nocturne/views/alerts"
	"nocturne/views/auth"
	"nocturne/views/dash"
	"nocturne/views/devices"
	"nocturne/views/inventory"
	"nocturne/views/jobs"
	"nocturne/views/reports"
	"nocturne/views/shell"
	"nocturne/views/ui"
)

var now = time.Date(2026, 11, 23, 11, 3, 39, 0, time.UTC)

const longName = "edge-router-with-a-really-long-name.rack-17.hall-2.frankfurt.example.net"

func ago(d time.Duration) time.Time { return now.Add(-d) }

func page(title, path string) shell.Page {
	return shell.Page{
		Title: title, Path: path, User: "mira", Role: "administrator", Build: "v0.1.0-12-gabc1234", Now: now, Alerts: 4, Lab: true,
		Tally: ui.Tally{ui.Critical: 2, ui.Major: 1, ui.Warning: 3, ui.Unknown: 1, ui.Maintenance: 1, ui.OK: 64},
	}
}

func spark(seed float64) *ui.Spark {
	s := &ui.Spark{Label: "Load over the last hour", Last: "41 %"}
	for i := range 40 {
		x := float64(i)
		s.Points = append(s.Points, 40+20*math.Sin(x/5+seed)+6*math.Sin(x*1.7+seed*3))
	}
	return s
}

func gappy() *ui.Spark {
	s := spark(2)
	for i := 10; i < 16; i++ {
		s.Points[i] = math.NaN()
	}
	return s
}

// shown is one page of the golden files and of the walk through the browser.
type shown struct {
	name string
	path string
	page templ.Component
	wall bool
}

func host(n string, s ui.State) ui.Ref {
	return ui.Ref{ID: "host/" + n, Label: n, Href: "/device/host/" + n, State: s}
}

func alertRows() []alerts.Row {
	inc := ui.Ref{Label: "inc-7f3a21", Href: "/incidents/inc-7f3a21"}
	return []alerts.Row{
		{Fingerprint: "a1", Href: "/alerts/a1", Severity: ui.Critical, Phase: "firing", Rule: "ServiceDown", Summary: "shop-web.service on web-03 has failed",
			Item: host("web-03", ui.Critical), Since: ago(42 * time.Second), Value: "1", Incident: inc, Job: ui.Ref{Label: "running", Href: "/jobs/rem-1"}},
		{Fingerprint: "a2", Href: "/alerts/a2", Severity: ui.Critical, Phase: "firing", Rule: "DeviceUnreachable", Summary: "pdu-r05-b does not answer SNMP",
			Item: ui.Ref{ID: "device/pdu-r05-b", Label: "pdu-r05-b", Href: "/device/device/pdu-r05-b", State: ui.Critical}, Since: ago(12 * time.Minute), Value: "0",
			Stale: true, Ack: &alerts.Ack{By: "mira", At: ago(9 * time.Minute), Note: "On my way to the hall"}},
		{Fingerprint: "a3", Href: "/alerts/a3", Severity: ui.Major, Phase: "firing", Rule: "LinkDown", Summary: "Ethernet7 is down, configured up; neighbour spine2",
			Item: ui.Ref{ID: "interface/leaf4/Ethernet7", Label: "leaf4 Ethernet7", Href: "/device/device/leaf4", State: ui.Major}, Since: ago(3 * time.Hour), Value: "2"},
		{Fingerprint: "a4", Href: "/alerts/a4", Severity: ui.Warning, Phase: "pending", Rule: "DiskFillsWithinADay", Summary: "/var on " + longName + " reaches 100 % in 19 h",
			Item: host(longName, ui.Warning), Since: ago(20 * time.Second), Value: "0.83"},
	}
}

func jobRows() []jobs.Row {
	return []jobs.Row{
		{ID: "rem-1f22ab90cd", Href: "/jobs/rem-1", Title: "Restart a service", Runbook: "restart-service", Phase: "running", By: "remedy:restart-failed-service",
			Hosts: []string{"web-03"}, Created: ago(30 * time.Second), Started: ago(29 * time.Second)},
		{ID: "job-2", Href: "/jobs/job-2", Title: "Restart a service", Runbook: "restart-service", Phase: "failed", Reason: "rule did not clear within 30 s; escalated",
			By: "remedy:restart-failed-service", Hosts: []string{"db-01"}, Created: ago(2 * time.Hour), Started: ago(2 * time.Hour), Ended: ago(2*time.Hour - 41*time.Second)},
		{ID: "job-3", Href: "/jobs/job-3", Title: "Rotate logs", Runbook: "rotate-logs", Phase: "succeeded", By: "person:mira",
			Hosts: []string{"web-01", "web-02", "web-03", "web-04"}, Created: ago(26 * time.Hour), Started: ago(26 * time.Hour), Ended: ago(26*time.Hour - 3*time.Minute)},
		{ID: "job-4", Href: "/jobs/job-4", Title: "Clear a cache with a title that is much longer than any column would like it to be", Runbook: "clear-cache", Phase: "unknown",
			Reason: "sent, then the connection was lost: not run again", By: "person:jonas", Hosts: []string{longName}, Created: ago(50 * time.Hour), Started: ago(50 * time.Hour)},
		{ID: "job-5", Href: "/jobs/job-5", Title: "Restart a service", Runbook: "restart-service", Phase: "queued", By: "person:mira", Hosts: []string{"app-11"}, Created: ago(2 * time.Second)},
	}
}

func overview() dash.Overview {
	m := dash.Overview{Page: page("Overview", "/"), Alerts: alertRows(), Jobs: jobRows()[:3]}
	m.Tiles = []dash.Tile{
		{Label: "Items watched", Value: "72", Href: "/devices", Hint: "40 devices, 24 hosts, 8 racks"},
		{Label: "Samples a second", Value: "1,284", Spark: spark(.2)},
		{Label: "Median poll", Value: "38", Unit: "ms", Spark: spark(1.4)},
		{Label: "Traffic in the fabric", Value: "41.7", Unit: "Gbit/s", Spark: spark(2.9)},
		{Label: "Loop, fault to proof", Value: "23", Unit: "s", Hint: "median of the last 10"},
	}
	m.Incidents = []dash.Incident{
		{ID: "inc-7f3a21", Href: "/incidents/inc-7f3a21", Title: "ServiceDown", Item: host("web-03", ui.Critical), Phase: "repairing", Opened: ago(42 * time.Second)},
		{ID: "inc-11", Href: "/incidents/inc-11", Title: "ServiceDown", Item: host("db-01", ui.Major), Phase: "escalated", Opened: ago(2 * time.Hour)},
		{ID: "inc-10", Href: "/incidents/inc-10", Title: "ServiceDown", Item: host("app-02", ui.OK), Phase: "resolved", Opened: ago(3 * time.Hour), Closed: ago(3*time.Hour - 24*time.Second), Took: 24 * time.Second},
	}
	m.Kinds = []dash.Kind{
		{Name: "Switches and power", Href: "/devices?kind=device", Tally: ui.Tally{ui.Critical: 1, ui.Major: 1, ui.OK: 38}},
		{Name: "Hosts", Href: "/devices?kind=host", Tally: ui.Tally{ui.Critical: 1, ui.Warning: 3, ui.Unknown: 1, ui.Maintenance: 1, ui.OK: 18}},
		{Name: "Instances", Href: "/devices?kind=instance", Tally: ui.Tally{ui.OK: 96}},
	}
	states := []ui.State{ui.OK, ui.OK, ui.Critical, ui.Major, ui.Critical, ui.Warning, ui.Unknown, ui.Maintenance}
	for i, s := range states {
		m.Racks = append(m.Racks, dash.Rack{ID: fmt.Sprintf("rack/r%02d", i+1), Name: fmt.Sprintf("r%02d", i+1), Href: fmt.Sprintf("/rack/rack/r%02d", i+1), State: s, Tally: ui.Tally{s: 1}})
	}
	m.Charts = []ui.Chart{
		{ID: "c-cpu", Title: "Processor of this machine", Unit: "percent", Src: "/api/nocturne/v1/chart?kind=percent", Item: "host/local"},
		{ID: "c-net", Title: "Network of this machine", Unit: "bit/s", Src: "/api/nocturne/v1/chart?kind=net", Item: "host/local"},
	}
	m.Sources = []dash.Source{
		{Name: "SNMP", Href: "/admin/targets?kind=snmp", Targets: 40, Failing: 1, Last: ago(2 * time.Second)},
		{Name: "Linux", Href: "/admin/targets?kind=linux", Targets: 25, Debt: 3, Last: ago(time.Second)},
		{Name: "OpenStack", Href: "/admin/targets?kind=openstack", Targets: 1, Last: ago(9 * time.Minute), Stale: true},
	}
	m.Report = &dash.ReportSummary{Title: "Morning inspection", Href: "/reports/rep-1", At: ago(4 * time.Hour), Pass: 1, Warn: 1, NotSeen: 1}
	return m
}

func emptyPage(title, path string) shell.Page {
	p := page(title, path)
	p.Tally, p.Alerts, p.Lab = ui.Tally{}, 0, false
	return p
}

func deviceList() devices.List {
	m := devices.List{Page: page("Devices", "/devices"), Query: ui.Query{Path: "/devices", Page: 1, Sort: "state"}, Pager: ui.Pager{Total: 64, PerPage: 24}, Known: 64,
		Kinds: []ui.Option{{Value: "device", Label: "device"}, {Value: "host", Label: "host"}}, Racks: []ui.Option{{Value: "rack/r01", Label: "r01"}}}
	states := []ui.State{ui.Critical, ui.Critical, ui.Major, ui.Warning, ui.Unknown, ui.Maintenance}
	roles := []string{"pdu", "leaf", "spine", "server"}
	for i := range 24 {
		s := ui.OK
		if i < len(states) {
			s = states[i]
		}
		n := fmt.Sprintf("%s%02d", roles[i%4], i)
		if i == 3 {
			n = longName
		}
		load := spark(float64(i))
		if i == 4 {
			load = gappy()
		}
		m.Rows = append(m.Rows, devices.Row{ID: "device/" + n, Name: n, Href: "/device/device/" + n, State: s, Kind: "device", Role: roles[i%4],
			Address: fmt.Sprintf("127.0.%d.%d:1161", i/10, i), Rack: ui.Ref{Label: fmt.Sprintf("r%02d", i%8+1), Href: "/rack/rack/r01"}, U: i + 1,
			Model: "Simulated 48-port switch", LastSeen: ago(time.Duration(i) * time.Second), Load: load, Alerts: max(0, 2-i)})
	}
	return m
}

func device() devices.Device {
	m := devices.Device{Page: page("leaf4", "/device/device/leaf4"), ID: "device/leaf4", Name: "leaf4", Kind: "device", State: ui.Major,
		Reasons: []string{"Ethernet7 is down, configured up", "second reason"}, Since: ago(3 * time.Hour), LastSeen: ago(2 * time.Second), Target: "leaf4", Range: "hour"}
	m.Crumbs = []ui.Ref{{Label: "lab", Href: "/inventory/site/lab"}, {Label: "hall", Href: "/inventory/room/lab/hall"}, {Label: "rack r04", Href: "/rack/rack/r04"}}
	m.Ranges = []ui.Ref{{Label: "hour", Href: "?range=hour"}, {Label: "day", Href: "?range=day"}, {Label: "week", Href: "?range=week"}}
	m.Properties = []ui.Property{
		{Name: "Address", Value: "127.0.4.4:1161", Mono: true}, {Name: "System name", Value: "leaf4", Source: "snmp", At: ago(time.Minute)},
		{Name: "Description", Value: "Simulated 48-port switch, network OS 4.32.1F", Source: "snmp", At: ago(time.Minute)},
		{Name: "Object id", Value: "1.3.6.1.4.1.30065.1.3011.7050", Mono: true}, {Name: "Chassis", Value: "02:00:00:00:04:04", Mono: true},
		{Name: "Location", Value: "lab / hall / r04 U40", Source: "import"}, {Name: "Contact", Value: ""}, {Name: "Up for", Value: "41 d 3 h"}}
	m.Charts = []ui.Chart{
		{ID: "c-traffic", Title: "Traffic by uplink", Unit: "bit/s", Src: "/api/nocturne/v1/chart?kind=net", Item: "device/leaf4"},
		{ID: "c-errors", Title: "Errors and discards", Unit: "packets/s", Src: "/api/nocturne/v1/chart?kind=none", Empty: "No interface of this device counts errors."},
	}
	for i := range 8 {
		s, oper := ui.OK, "up"
		if i == 6 {
			s, oper = ui.Major, "down"
		}
		m.Interfaces = append(m.Interfaces, devices.Interface{ID: fmt.Sprintf("interface/leaf4/Ethernet%d", i+1), Name: fmt.Sprintf("Ethernet%d", i+1), Alias: "to spine", State: s, Admin: "up", Oper: oper,
			Speed: "25 Gbit/s", InRate: "3.1 Gbit/s", OutRate: "812 Mbit/s", Load: spark(float64(i)), Errors: "0", Neighbour: ui.Ref{Label: fmt.Sprintf("spine%d", i%2+1), Href: "/device/device/spine1"}, NeighbourPort: "Ethernet4"})
	}
	m.Alerts = alertRows()[2:3]
	m.Links = []devices.Link{
		{Port: "Ethernet1", Neighbour: ui.Ref{Label: "spine1", Href: "/device/device/spine1"}, FarPort: "Ethernet4", Evidence: "LLDP at both ends", LastSeen: ago(8 * time.Second), State: ui.OK},
		{Port: "Ethernet7", Neighbour: ui.Ref{Label: "spine2", Href: "/device/device/spine2"}, FarPort: "Ethernet4", Evidence: "LLDP at one end", LastSeen: ago(3 * time.Hour), State: ui.Major}}
	m.Relations = []devices.Relation{{Type: "placed in", Other: ui.Ref{Label: "r04", Href: "/rack/rack/r04"}, Detail: "U40, front"}, {Type: "powered by", Other: ui.Ref{ID: "device/pdu-r04-a", Label: "pdu-r04-a", Href: "/device/device/pdu-r04-a", State: ui.OK}}}
	return m
}

func hostPage() devices.Device {
	m := devices.Device{Page: page("web-03", "/device/host/web-03"), ID: "host/web-03", Name: "web-03", Kind: "host", State: ui.Critical,
		Reasons: []string{"shop-web.service has failed"}, Since: ago(42 * time.Second), LastSeen: ago(time.Second), Target: "web-03"}
	m.Charts = []ui.Chart{
		{ID: "c-cpu", Title: "Processor", Unit: "percent", Src: "/api/nocturne/v1/chart?kind=percent", Item: "host/web-03"},
		{ID: "c-mem", Title: "Memory", Unit: "bytes", Src: "/api/nocturne/v1/chart?kind=bytes", Item: "host/web-03"}}
	m.Services = []devices.Service{{ID: "x", Name: "shop-web.service", Active: "failed", State: ui.Critical}, {ID: "y", Name: "nginx.service", Active: "active", State: ui.OK}, {ID: "z", Name: "backup.timer", Active: "inactive", State: ui.Unknown}}
	m.Disks = []devices.Disk{{Mount: "/", Device: "/dev/vda1", Used: "12.1 GiB", Size: "40 GiB", Percent: 30.2, State: ui.OK}, {Mount: "/var", Device: "/dev/vdb", Used: "91 GiB", Size: "100 GiB", Percent: 91, State: ui.Warning}, {Mount: "/srv", Device: "nfs:/srv", Percent: -1, State: ui.Unknown}}
	m.Alerts, m.Jobs = alertRows()[:1], jobRows()[:1]
	m.Runbooks = []ui.Ref{{Label: "Restart a service", Href: "/jobs/new?runbook=restart-service&host=web-03"}}
	m.Properties = []ui.Property{{Name: "Address", Value: "127.0.20.3:2022", Mono: true}, {Name: "Kernel", Value: "6.12.41"}, {Name: "Region", Value: "north"}}
	m.MaintenanceUntil, m.MaintenanceNote = time.Time{}, ""
	return m
}

func alertDetail() alerts.Detail {
	m := alerts.Detail{Page: page("ServiceDown", "/alerts/a1"), Row: alertRows()[0], Episode: "ep-1", Description: "A service that should run does not.", CanAck: true,
		Query: "node_systemd_unit_state{state=\"failed\", name=~\".+\\\\.service\"} == 1", For: 10 * time.Second}
	m.Labels = []ui.Property{{Name: "alertname", Value: "ServiceDown", Mono: true}, {Name: "instance", Value: "web-03", Mono: true}, {Name: "name", Value: "shop-web.service", Mono: true}, {Name: "severity", Value: "critical", Mono: true}}
	m.Annotations = []ui.Property{{Name: "summary", Value: "shop-web.service on web-03 has failed"}}
	m.Timeline = timeline()[:4]
	m.Jobs = []ui.Ref{{Label: "Restart a service: running", Href: "/jobs/rem-1"}}
	m.Chart = &ui.Chart{ID: "c-rule", Title: "What the rule sees", Src: "/api/nocturne/v1/chart?kind=step", Item: ""}
	return m
}

// staleAlert is one whose series are not seen any more, after a form that was
// refused.
func staleAlert() alerts.Detail {
	m := alertDetail()
	m.Stale, m.CanAck, m.CanClose = true, false, true
	m.CloseFault, m.CloseNote = "The note is longer than 1,000 characters.", "scrapped"
	return m
}

func timeline() []ui.Entry {
	return []ui.Entry{
		{At: ago(52 * time.Second), Kind: "alert", State: ui.Warning, Title: "ServiceDown is pending", Detail: "node_systemd_unit_state = 1", Actor: "system", Seq: 211},
		{At: ago(42 * time.Second), Kind: "alert", State: ui.Critical, Title: "ServiceDown fires on web-03", Detail: "Held for 10 s", Actor: "system", Seq: 212},
		{At: ago(41 * time.Second), Kind: "job", Title: "Job rem-1f22ab90cd created", Detail: "Restart a service: unit = shop-web.service", Actor: "remedy:restart-failed-service", Href: "/jobs/rem-1", Seq: 213},
		{At: ago(40 * time.Second), Kind: "job", Title: "restart: sent", Detail: "web-03, exec request made durable before it went out", Actor: "remedy:restart-failed-service", Seq: 214},
		{At: ago(38 * time.Second), Kind: "job", State: ui.OK, Title: "restart: ok", Detail: "exit 0 after 1.4 s", Actor: "remedy:restart-failed-service", Seq: 216},
		{At: ago(30 * time.Second), Kind: "proof", State: ui.OK, Title: "Proof: cleared", Detail: "The alert's own rule selects nothing in samples after 11:03:01", Actor: "remedy:restart-failed-service", Seq: 218},
		{At: ago(29 * time.Second), Kind: "alert", State: ui.OK, Title: "ServiceDown resolved", Actor: "system", Seq: 219},
	}
}

func incident() alerts.Incident {
	m := alerts.Incident{Page: page("Incident inc-7f3a21", "/incidents/inc-7f3a21"), ID: "inc-7f3a21", Headline: "ServiceDown on web-03", Item: host("web-03", ui.OK), Phase: "resolved", Opened: ago(52 * time.Second), Closed: ago(29 * time.Second), Timeline: timeline(), Verified: "9 records, chain unbroken"}
	m.Stages = []alerts.Stage{
		{Name: "Fault seen", State: "done", At: ago(52 * time.Second), Detail: "shop-web.service: failed"},
		{Name: "Alert", State: "done", At: ago(42 * time.Second), After: 10 * time.Second, Detail: "critical, held for 10 s", Href: "/alerts/a1"},
		{Name: "Job", State: "done", At: ago(38 * time.Second), After: 4 * time.Second, Detail: "systemctl restart, exit 0", Href: "/jobs/rem-1"},
		{Name: "Proof", State: "done", At: ago(30 * time.Second), After: 8 * time.Second, Detail: "the same rule, fresh samples"},
		{Name: "Resolved", State: "done", At: ago(29 * time.Second), After: time.Second, Detail: "23 s from fault to proof"},
	}
	m.Alerts = alertRows()[:1]
	m.Alerts[0].Phase = "resolved"
	m.Jobs = []alerts.JobLine{{ID: "rem-1", Href: "/jobs/rem-1", Title: "Restart a service", Phase: "succeeded", Hosts: "web-03"}}
	m.Affected = []ui.Ref{{ID: "application/shop", Label: "Application shop", Href: "/inventory/application/shop", State: ui.OK}, {ID: "instance/1", Label: "shop-web-3", Href: "/device/instance/1", State: ui.OK}}
	return m
}

func brokenIncident() alerts.Incident {
	m := incident()
	m.Phase, m.Closed, m.Item.State = "escalated", time.Time{}, ui.Critical
	m.Stages[3].State, m.Stages[3].Detail = "failed", "still failed after 30 s"
	m.Stages[4] = alerts.Stage{Name: "Resolved", State: "waiting", Detail: "escalated to on-call"}
	m.Alerts[0].Phase, m.Jobs[0].Phase, m.Jobs[0].Reason = "firing", "failed", "rule did not clear within 30 s"
	m.Timeline = m.Timeline[:5]
	return m
}

func run() jobs.Run {
	zero := 0
	m := jobs.Run{Page: page("Restart a service", "/jobs/rem-1"), Row: jobRows()[0], Revision: "5f1c09e2", CanCancel: true}
	m.Phase, m.Incident = "verifying", ui.Ref{Label: "inc-7f3a21", Href: "/incidents/inc-7f3a21"}
	m.Parameters = []ui.Property{{Name: "unit", Value: "shop-web.service", Mono: true}}
	m.Tasks = []jobs.Task{
		{Host: host("web-03", ui.Critical), Region: "north", Steps: []jobs.Step{
			{Name: "show the state", Phase: "ok", Exit: &zero, Started: ago(30 * time.Second), Ended: ago(29 * time.Second)},
			{Name: "restart", Phase: "sent", Started: ago(28 * time.Second)}}},
		{Host: host("web-04", ui.OK), Region: "south", Steps: []jobs.Step{{Name: "show the state", Phase: "unknown", Err: "connection lost after the command was sent"}, {Name: "restart", Phase: "skipped"}}}}
	for i, l := range []string{"● shop-web.service - Shop front end", "     Loaded: loaded (/etc/systemd/system/shop-web.service; enabled)", "     Active: failed (Result: exit-code) since Mon 2026-11-23 11:02:47 UTC", "Main PID: 4121 (code=exited, status=1/FAILURE)", "$ systemctl restart shop-web.service", ""} {
		m.Lines = append(m.Lines, jobs.Line{Seq: int64(i + 1), At: ago(time.Duration(30-i) * time.Second), Host: "web-03", Step: "restart", Text: l})
	}
	m.Proof = &jobs.Proof{Verdict: "waiting", Reason: "Fresh samples were asked for; the rule is evaluated on what came after 11:03:11.", Rule: "node_systemd_unit_state{state=\"failed\"} == 1", Until: now.Add(20 * time.Second), Alert: ui.Ref{Label: "ServiceDown on web-03", Href: "/alerts/a1"}}
	return m
}

func runForm() jobs.Form {
	return jobs.Form{Page: page("Restart a service", "/jobs/new"), Key: "OF7Z2QK6A5N3X", Runbook: "restart-service", Heading: "Restart a service", Text: "Restarts one systemd unit and shows its state before and after.", Fault: "Choose at least one host.",
		Parameters: []ui.Field{{Name: "unit", Label: "unit", Hint: "systemd unit, such as nginx.service", Required: true, Pattern: `[a-z0-9@._\-]+`, Error: "shop web: must match the pattern"}},
		Hosts:      []ui.Option{{Value: "web-01", Label: "web-01", State: ui.OK, Hint: "north"}, {Value: "web-03", Label: "web-03", State: ui.Critical, Hint: "north", Selected: true}, {Value: "db-01", Label: "db-01", State: ui.Unknown, Hint: "south"}},
		Steps:      []jobs.FormStep{{Name: "show the state", Shell: "systemctl status --no-pager {{ .unit }}", Timeout: 10 * time.Second, Idempotent: true}, {Name: "restart", Shell: "systemctl restart {{ .unit }}", Timeout: 30 * time.Second}}}
}

func report() reports.Report {
	m := reports.Report{Page: page("Morning inspection", "/reports/rep-1"), ID: "rep-1", Heading: "Morning inspection", At: ago(4 * time.Hour), By: "schedule", Took: 84 * time.Millisecond, Verdict: reports.Fail,
		Counts: reports.Counts{reports.Pass: 1, reports.Warn: 1, reports.Fail: 0, reports.NotSeen: 1}, Sequence: 198, Hash: "9c1f0a4cbb30b1d2e07f2b93a2f2b5e2d8f8fd06f5f3f1f4ee6a0c65e9f01b77"}
	m.Checks = []reports.Check{
		{Name: "disk", Title: "Disks below 80 %", Query: "100 * (1 - node_filesystem_avail_bytes / node_filesystem_size_bytes)", Unit: "percent", Warn: "> 80", Fail: "> 90", Verdict: reports.Warn, Expected: 3, Seen: 3,
			Rows: []reports.CheckRow{{Item: host("web-01", ui.OK), Labels: `mountpoint="/"`, Value: "31 %", Ratio: .34, Verdict: reports.Pass}, {Item: host("web-03", ui.Warning), Labels: `mountpoint="/var"`, Value: "83 %", Ratio: .92, Verdict: reports.Warn}, {Item: host("db-01", ui.OK), Labels: `mountpoint="/srv"`, Value: "12 %", Ratio: .13, Verdict: reports.Pass}}},
		{Name: "power", Title: "Every power feed answers", Query: "up{job=\"snmp\", role=\"pdu\"}", Fail: "== 0", Verdict: reports.NotSeen, Expected: 16, Seen: 15, Missing: []ui.Ref{{Label: "pdu-r05-b", Href: "/device/device/pdu-r05-b"}}},
		{Name: "links", Title: "No uplink is down", Query: "ifOperStatus{ifAlias=~\"to spine.*\"} == 2", Verdict: reports.Pass, Expected: 0, Seen: 32, Reason: "Nothing selected, and all 32 uplinks were seen."},
	}
	return m
}

func inventoryList() inventory.List {
	m := inventory.List{Page: page("Inventory", "/inventory"), Query: ui.Query{Path: "/inventory", Page: 1}, Pager: ui.Pager{Total: 5, PerPage: 50}, Known: 812, CanImport: true,
		Kinds: []inventory.Kind{{Name: "site", Count: 1}, {Name: "rack", Count: 8}, {Name: "device", Count: 40}, {Name: "interface", Count: 620}, {Name: "host", Count: 25}}}
	for i, n := range []string{"leaf1", "leaf2", "web-01", longName, "pdu-r05-b"} {
		m.Rows = append(m.Rows, inventory.Row{ID: "device/" + n, Name: n, Href: "/inventory/device/" + n, Kind: "device", State: ui.States()[i], Place: "lab / hall / r01 U12", FirstSeen: ago(40 * 24 * time.Hour), LastSeen: ago(time.Duration(i) * time.Minute), Missing: i == 4, Sources: []string{"snmp", "import"}})
	}
	return m
}

func inventoryDetail() inventory.Detail {
	m := inventory.Detail{Page: page("leaf1", "/inventory/device/leaf1"), Row: inventoryList().Rows[0]}
	m.Crumbs = []ui.Ref{{Label: "lab", Href: "/inventory/site/lab"}}
	m.Fields = device().Properties
	m.Relations = []inventory.Relation{{Type: "placed-in", Outgoing: true, Other: ui.Ref{Label: "r01", Href: "/inventory/rack/r01"}, Source: "import", Detail: "U40, front", From: ago(900 * time.Hour)}, {Type: "part-of", Other: ui.Ref{Label: "leaf1 Ethernet1", Href: "/inventory/interface/leaf1/Ethernet1"}, Source: "snmp", From: ago(900 * time.Hour), To: ago(time.Hour)}}
	m.Bindings = []inventory.Binding{{Labels: `{job="snmp", instance="leaf1"}`, From: ago(900 * time.Hour)}}
	return m
}

func importPage() inventory.Import {
	return inventory.Import{Page: page("Import", "/inventory/import"), Name: "hall.yaml", Text: "racks:\n  - name: r01\n    hight: 42\n", Faults: []inventory.Fault{{File: "hall.yaml", Line: 3, Path: "racks[0].hight", Text: "unknown field; did you mean height?"}, {File: "hall.yaml", Line: 9, Path: "racks[0].devices[2].u", Text: "must lie between 1 and 42, is 52"}}}
}

func adminPages() []shown {
	people := admin.People{Page: page("Administration", "/admin/people"), Rows: []admin.Person{{Name: "mira", Role: "administrator", Created: ago(900 * time.Hour), Self: true}, {Name: "jonas", Role: "viewer", Created: ago(30 * time.Hour)}, {Name: "guest", Role: "viewer", Created: ago(3 * time.Hour), Disabled: true}}, Fault: "The name jonas is taken.", Name: "jonas"}
	tokens := admin.Tokens{Page: page("Administration", "/admin/tokens"), Secret: "noct_5f1c09e2a7b34c", Rows: []admin.Token{{Name: "grafana", Role: "viewer", By: "person:mira", Expires: now.Add(900 * time.Hour), LastUse: ago(time.Minute)}, {Name: "old", Role: "viewer", By: "person:mira", Revoked: true}}}
	creds := admin.Credentials{Page: page("Administration", "/admin/credentials"), Kind: "snmp", Rows: []admin.Credential{{Name: "lab-snmp", Kind: "snmp", By: "person:mira", Updated: ago(time.Hour), UsedBy: 40}}, Fields: []ui.Field{{Name: "name", Label: "Name", Required: true}, {Name: "version", Label: "Version", Value: "2c"}, {Name: "community", Label: "Community"}},
		Key: admin.MasterKey{ID: "3f2a9c0d41e87b65", Source: "file /var/lib/nocturne/master.key", Since: ago(40 * 24 * time.Hour)}}
	audit := admin.Audit{Page: page("Administration", "/admin/audit"), Query: ui.Query{Path: "/admin/audit", Page: 1}, Pager: ui.Pager{Total: 2, PerPage: 100}, Length: 219, Verified: 219, Checked: ago(10 * time.Second), Rows: []admin.Entry{{Seq: 219, At: ago(29 * time.Second), Kind: "alert", Actor: "system", Action: "resolved", Subject: "ServiceDown", Incident: "inc-7f3a21", Hash: "9c1f0a4cbb30b1d2e07f"}, {Seq: 207, At: ago(time.Hour), Kind: "audit", Actor: "person:mira", Action: "person.add", Subject: "jonas", Hash: "0a4cbb30b1d2e07f2b93"}}}
	targets := admin.Targets{Page: page("Administration", "/admin/targets"), Query: ui.Query{Path: "/admin/targets", Page: 1}, Pager: ui.Pager{Total: 2, PerPage: 100}, Known: 66, Debt: 3, Rows: []admin.Target{{Name: "leaf1", Kind: "snmp", Address: "127.0.4.1:1161", Credential: "lab-snmp", Item: ui.Ref{Href: "/device/device/leaf1"}, Interval: 10 * time.Second, Took: 38 * time.Millisecond, Last: ago(time.Second), LastOK: ago(time.Second), Polls: 1201, State: ui.OK}, {Name: "pdu-r05-b", Kind: "snmp", Address: "127.0.5.9:1161", Credential: "lab-snmp", Interval: 10 * time.Second, Took: 2 * time.Second, Last: ago(2 * time.Second), LastOK: ago(12 * time.Minute), Err: "get 1.3.6.1.2.1.1.3.0: request timed out after 3 tries", Debt: 3, Polls: 1201, Failures: 72, State: ui.Critical}}}
	rules := admin.Rules{Page: page("Administration", "/admin/rules"), Faults: []string{"rules/extra.yaml:14: groups[0].rules[2].expr: parse error: unexpected end of input"}, Groups: []admin.Group{{Name: "hosts", File: "built in", Interval: 5 * time.Second, Rules: []admin.Rule{{Name: "ServiceDown", Query: `node_systemd_unit_state{state="failed"} == 1`, Severity: ui.Critical, For: 10 * time.Second, Health: "ok", Last: ago(2 * time.Second), Firing: 1, Remedy: "restart-service"}, {Name: "Broken", Query: "sum by (x) (up) / on(y) up", Severity: ui.Warning, Health: "error", Err: "many-to-many matching not allowed", Last: ago(2 * time.Second)}}}}}
	about := admin.About{Page: page("Administration", "/admin/about"), Facts: []ui.Property{{Name: "Version", Value: "v0.1.0-12-gabc1234", Mono: true}, {Name: "Running for", Value: "3 h 12 min"}, {Name: "Memory", Value: "118 MiB"}}, Settings: []ui.Property{{Name: "Data", Value: "./data", Mono: true}},
		Vendors: []admin.Vendor{{Name: "htmx.org", Version: "4.0.1", Licence: "0BSD", Source: "https://htmx.org"}}}
	changes := []admin.Change{{Field: "targets.snmp[leaf-9].address", Was: "192.0.2.9", Is: "192.0.2.19"}, {Field: "credentials[lab].snmp.community", Was: "<secret>", Is: "<secret> (changed)"}}
	configuration := admin.Configuration{Page: page("Administration", "/admin/configuration"), File: "/etc/nocturne/nocturne.yaml", Applied: changes, Done: true}
	refused := admin.Configuration{Page: page("Administration", "/admin/configuration"), File: "/etc/nocturne/nocturne.yaml", Done: true, Faults: []string{"listen is changed and needs a restart"},
		Changes: append(changes, admin.Change{Field: "listen", Was: "127.0.0.1:8080", Is: "127.0.0.1:9090", Restart: true}), Restart: []string{"listen"}}
	return []shown{
		{name: "admin-people", path: "/admin/people", page: admin.PeoplePage(people)}, {name: "admin-tokens", path: "/admin/tokens", page: admin.TokensPage(tokens)},
		{name: "admin-credentials", path: "/admin/credentials", page: admin.CredentialsPage(creds)}, {name: "admin-audit", path: "/admin/audit", page: admin.AuditPage(audit)},
		{name: "admin-targets", path: "/admin/targets", page: admin.TargetsPage(targets)}, {name: "admin-rules", path: "/admin/rules", page: admin.RulesPage(rules)}, {name: "admin-about", path: "/admin/about", page: admin.AboutPage(about)},
		{name: "admin-configuration", path: "/admin/configuration", page: admin.ConfigurationPage(configuration)}, {name: "admin-configuration-refused", path: "/admin/configuration-refused", page: admin.ConfigurationPage(refused)},
	}
}

func light(p shell.Page) shell.Page { p.Theme = "light"; return p }

func pages() []shown {
	lightOverview := overview()
	lightOverview.Page = light(lightOverview.Page)
	noDevices := devices.List{Page: emptyPage("Devices", "/devices"), Query: ui.Query{Path: "/devices", Page: 1}}
	noMatch := noDevices
	noMatch.Known, noMatch.Query.Text = 64, "nonesuch"
	all := []shown{
		{name: "overview", path: "/", page: dash.OverviewPage(overview())},
		{name: "overview-light", path: "/light", page: dash.OverviewPage(lightOverview)},
		{name: "overview-empty", path: "/empty", page: dash.OverviewPage(dash.Overview{Page: emptyPage("Overview", "/")})},
		{name: "login", path: "/login", page: auth.LoginPage(auth.Login{Page: shell.Page{Title: "Sign in", Path: "/login"}, Name: "mira", Next: "/racks", Fault: "That name and password do not fit together."})},
		{name: "setup", path: "/setup", page: auth.SetupPage(auth.Setup{Page: shell.Page{Title: "Set up", Path: "/setup"}, Token: "5f1c"})},
		{name: "setup-spent", path: "/setup-spent", page: auth.SetupPage(auth.Setup{Page: shell.Page{Title: "Set up"}, Spent: true})},
		{name: "fault", path: "/fault", page: shell.FaultPage(shell.Fault{Page: shell.Page{Title: "Not found"}, Status: 404, Text: "There is no device of this name.", Hint: "It may have been removed from the inventory."})},
		{name: "devices", path: "/devices", page: devices.ListPage(deviceList())},
		{name: "devices-empty", path: "/devices-empty", page: devices.ListPage(noDevices)},
		{name: "devices-nomatch", path: "/devices-nomatch", page: devices.ListPage(noMatch)},
		{name: "device", path: "/device/device/leaf4", page: devices.DevicePage(device())},
		{name: "host", path: "/device/host/web-03", page: devices.DevicePage(hostPage())},
		{name: "device-bare", path: "/device-bare", page: devices.DevicePage(devices.Device{Page: emptyPage(longName, "/device/device/x"), ID: "device/x", Name: longName, Kind: "device", State: ui.Unknown})},
		{name: "alerts", path: "/alerts", page: alerts.ListPage(alerts.List{Page: page("Alerts", "/alerts"), Query: ui.Query{Path: "/alerts", Page: 1}, Pager: ui.Pager{Total: 4, PerPage: 50}, Rows: alertRows(), Open: 3})},
		{name: "alerts-empty", path: "/alerts-empty", page: alerts.ListPage(alerts.List{Page: emptyPage("Alerts", "/alerts"), Query: ui.Query{Path: "/alerts", Page: 1}})},
		{name: "alert", path: "/alerts/a1", page: alerts.DetailPage(alertDetail())},
		{name: "alert-stale", path: "/alerts/a1-stale", page: alerts.DetailPage(staleAlert())},
		{name: "incident", path: "/incidents/inc-7f3a21", page: alerts.IncidentPage(incident())},
		{name: "incident-escalated", path: "/incidents/inc-11", page: alerts.IncidentPage(brokenIncident())},
		{name: "jobs", path: "/jobs", page: jobs.ListPage(jobs.List{Page: page("Jobs", "/jobs"), Query: ui.Query{Path: "/jobs", Page: 1}, Pager: ui.Pager{Total: 5, PerPage: 50}, Rows: jobRows(), Known: 5, Runbooks: []jobs.Runbook{{Name: "restart-service", Title: "Restart a service", Description: "Restarts one systemd unit and shows its state.", Href: "/jobs/new?runbook=restart-service", Steps: 2}}})},
		{name: "jobs-empty", path: "/jobs-empty", page: jobs.ListPage(jobs.List{Page: emptyPage("Jobs", "/jobs"), Query: ui.Query{Path: "/jobs", Page: 1}})},
		{name: "job", path: "/jobs/rem-1", page: jobs.RunPage(run())},
		{name: "job-form", path: "/jobs/new", page: jobs.FormPage(runForm())},
		{name: "reports", path: "/reports", page: reports.ListPage(reports.List{Page: page("Reports", "/reports"), CanRun: true, Inspections: []reports.Inspection{{Name: "morning", Title: "Morning inspection", Schedule: "0 7 * * *", Next: now.Add(20 * time.Hour), Checks: 3}}, Rows: []reports.Row{{ID: "rep-1", Href: "/reports/rep-1", Title: "Morning inspection", At: ago(4 * time.Hour), Verdict: reports.NotSeen, Counts: report().Counts}}})},
		{name: "reports-empty", path: "/reports-empty", page: reports.ListPage(reports.List{Page: emptyPage("Reports", "/reports")})},
		{name: "report", path: "/reports/rep-1", page: reports.ReportPage(report())},
		{name: "inventory", path: "/inventory", page: inventory.ListPage(inventoryList())},
		{name: "inventory-item", path: "/inventory/device/leaf1", page: inventory.DetailPage(inventoryDetail())},
		{name: "inventory-import", path: "/inventory/import", page: inventory.ImportPage(importPage())},
	}
	all = append(all, adminPages()...)
	all = append(all, historyPages()...)
	all = append(all, appliancePages()...)
	return append(all, wallPages()...)
}
