package views

import (
	"time"

	"nocturne/views/admin"
	"nocturne/views/alerts"
	"nocturne/views/ui"
)

func vitalCharts() []ui.Chart {
	var out []ui.Chart
	for _, c := range []ui.Chart{
		{Panel: "cpu", Title: "CPU of this program", Unit: "percent"}, {Panel: "memory", Title: "Memory of this program", Unit: "bytes"},
		{Panel: "samples", Title: "Samples taken", Unit: "samples/s"}, {Panel: "polls", Title: "Polls", Unit: "polls/s"},
	} {
		c.ID, c.Item = "chart-"+c.Panel, "appliance/nocturne"
		c.Src = "/api/nocturne/v1/chart?item=appliance%2Fnocturne&panel=" + c.Panel
		out = append(out, c)
	}
	return out
}

func wellAppliance() admin.Appliance {
	return admin.Appliance{
		Page: page("Appliance", "/admin/appliance"), Verdict: admin.Verdict{State: ui.OK, Title: "All parts do their work"}, Charts: vitalCharts(),
		Tiles: []admin.Tile{
			{Label: "Running for", Value: "27 h", Hint: "version v0.1.0-12-gabc1234"}, {Label: "Targets", Value: "66", Hint: "this program among them"},
			{Label: "Series in memory", Value: "104 k", Hint: "12.9 M samples since the start"}, {Label: "Free on its disk", Value: "212 GB", Hint: "read-only below 67.1 MB"},
		},
		Parts: []admin.Part{
			{Name: "History", State: ui.OK, Text: "History takes samples and answers", Href: "/admin/history"}, {Name: "Disk", State: ui.OK, Text: "Full in 214 days, if it goes on as in the last hours", Href: "/admin/history"},
			{Name: "Rules", State: ui.OK, Text: "18 rules are evaluated in time", Href: "/admin/rules"}, {Name: "Polling", State: ui.OK, Text: "66 targets are polled; 0 are not seen", Href: "/admin/targets"},
			{Name: "Jobs", State: ui.OK, Text: "0 tasks run, 0 wait", Href: "/jobs"}, {Name: "Receiver noc", State: ui.OK, Text: "Has taken all it was told"},
			{Name: "Ledger", State: ui.OK, Text: "18204 entries hold, checked 3 h ago", Href: "/admin/audit"}, {Name: "Live stream", State: ui.OK, Text: "Is sent to 3 pages"},
		},
	}
}

func sickAppliance() admin.Appliance {
	m := wellAppliance()
	m.Parts[0] = admin.Part{Name: "History", State: ui.Critical, Text: "History is read-only since 2026-11-23 10:59:00 UTC: no samples are taken. What is stored can be asked.", Href: "/admin/history"}
	m.Parts[1] = admin.Part{Name: "Disk", State: ui.Unknown, Text: "How much room there is is not known: statfs /var/lib/nocturne: input/output error", Href: "/admin/history"}
	m.Parts[5] = admin.Part{Name: "Receiver " + longName, State: ui.Major, Text: "Post \"https://hooks.example.net/x\": dial tcp 192.0.2.17:443: connect: connection refused; 12 incidents wait"}
	m.Parts[6] = admin.Part{Name: "Ledger", State: ui.Critical, Text: "the ledger's chain is broken at entry 7: it was changed", Href: "/admin/audit"}
	m.Verdict = admin.Verdict{State: ui.Critical, Title: "Not all parts do their work"}
	for _, i := range []int{0, 6, 5, 1} {
		p := m.Parts[i]
		m.Verdict.Reasons = append(m.Verdict.Reasons, admin.Reason{State: p.State, Text: p.Name + ": " + p.Text, Href: p.Href})
	}
	m.Alerts = []alerts.Row{
		{Fingerprint: "9f", Href: "/alerts/9f", Severity: ui.Critical, Phase: "firing", Rule: "LedgerBroken", Summary: "The chain of the ledger does not hold", Since: ago(4 * time.Minute), Item: ui.Ref{ID: "appliance/nocturne", Label: "nocturne", Href: "/device/appliance/nocturne", State: ui.Critical}},
		{Fingerprint: "a0", Href: "/alerts/a0", Severity: ui.Warning, Phase: "pending", Rule: "DataDiskFillsUp", Summary: "The disk of the data is full in 4.1 days", Since: ago(12 * time.Minute), Item: ui.Ref{ID: "appliance/nocturne", Label: "nocturne", Href: "/device/appliance/nocturne", State: ui.Critical}},
	}
	return m
}

func appliancePages() []shown {
	light1 := sickAppliance()
	light1.Page = light(light1.Page)
	none := admin.Appliance{Page: emptyPage("Appliance", "/admin/appliance"), Verdict: admin.Verdict{State: ui.Unknown, Title: "Not all is known of the parts yet",
		Reasons: []admin.Reason{{State: ui.Unknown, Text: "Ledger: Its chain was not checked since the start; that is done after a minute", Href: "/admin/audit"}}},
		Parts: []admin.Part{{Name: "Ledger", State: ui.Unknown, Text: "Its chain was not checked since the start; that is done after a minute", Href: "/admin/audit"}}}
	none.Role, none.User = "viewer", "jonas"
	return []shown{
		{name: "admin-appliance", path: "/admin/appliance", page: admin.AppliancePage(wellAppliance())},
		{name: "admin-appliance-sick", path: "/admin/appliance-sick", page: admin.AppliancePage(sickAppliance())},
		{name: "admin-appliance-sick-light", path: "/admin/appliance-sick-light", page: admin.AppliancePage(light1)},
		{name: "admin-appliance-empty", path: "/admin/appliance-empty", page: admin.AppliancePage(none)},
	}
}
