package views

import (
	"fmt"
	"time"

	"nocturne/views/admin"
	"nocturne/views/ui"
)

func historyTiles() []admin.Tile {
	return []admin.Tile{
		{Label: "Series in memory", Value: "104 k", Hint: "of 2 M at most", Share: .052, State: ui.OK},
		{Label: "Samples taken", Value: "12.9 M", Hint: "since the start"}, {Label: "Samples rejected", Value: "0", Hint: "none since the start"},
		{Label: "Held", Value: "29 d 22 h", Hint: "4.13 GB in 38 blocks"}, {Label: "Free on its disk", Value: "212 GB", Hint: "read-only below 67.1 MB"},
		{Label: "Last made durable", Value: "just now", Hint: "done every half second"},
	}
}

func historyCosts() []admin.Cost {
	share := func(of uint64, more ...any) (out []admin.Share) {
		for i := 0; i < len(more); i += 2 {
			n := uint64(more[i+1].(int))
			s := admin.Share{Name: more[i].(string), N: n, Share: -1}
			if of > 0 {
				s.Share = float64(n) / float64(of)
			}
			out = append(out, s)
		}
		return out
	}
	return []admin.Cost{
		{ID: "c-metrics", Title: "By metric", About: "How many series a metric has.", What: "Metric", Unit: "Series",
			Rows: share(104_000, "node_systemd_unit_state", 38_400, "ifHCInOctets", 9_920, "ifHCOutOctets", 9_920, "ifInErrors", 9_920, "node_cpu_seconds_total", 6_144, "node_filesystem_avail_bytes", 310)},
		{ID: "c-pairs", Title: "By label and value", About: "How many series carry the pair.", What: "Label", Unit: "Series",
			Rows: share(104_000, "job=linux", 61_200, "job=snmp", 42_010, "__name__=node_systemd_unit_state", 38_400, "instance="+longName, 4_096)},
		{ID: "c-labels", Title: "By label", About: "How many values a label has: each makes series.", What: "Label", Unit: "Values",
			Rows: share(0, "name", 1_812, "ifName", 620, "__name__", 214, "instance", 66, "state", 5, "job", 4)},
	}
}

func healthyHistory() admin.History {
	m := admin.History{Page: page("History", "/admin/history"), Query: ui.Query{Path: "/admin/history", Page: 1}, Pager: ui.Pager{Total: 4, PerPage: 50}, Known: 4,
		Opened: ago(27 * time.Hour), Tiles: historyTiles(), Costs: historyCosts(), Verdict: admin.Verdict{State: ui.OK, Title: "History takes samples and answers"}}
	m.Sources = []admin.Source{
		{Name: "linux", State: ui.OK, Series: 61_200, Limit: 500_000, Appended: 7_911_204, Rejected: 2, Reasons: []admin.Rejected{{Reason: "another value at the same time", N: 2}}},
		{Name: "openstack", State: ui.OK, Series: 812, Limit: 500_000, Appended: 61_004}, {Name: "program", State: ui.OK, Series: 96, Limit: 500_000, Appended: 40_112},
		{Name: "snmp", State: ui.OK, Series: 42_010, Limit: 500_000, Appended: 4_933_871},
	}
	m.To = []admin.Receiver{{Name: "archive", URL: "https://archive.example.net/api/v1/write", Protocol: "2.0", State: ui.OK, Lag: 4 * time.Second, Position: ago(4 * time.Second), Waiting: 18_204, Sent: 12_944_006}}
	m.Held = []admin.Held{
		{Name: "as they came", Blocks: 38, Bytes: 4_131_000_000, From: ago(718 * time.Hour), To: ago(time.Second)},
		{Name: "rolled up to 5m", Blocks: 12, Bytes: 612_000_000, Samples: 91_340_211, From: ago(4100 * time.Hour), To: ago(3 * time.Hour)},
		{Name: "rolled up to 1h", Blocks: 9, Bytes: 88_000_000, Samples: 7_611_684, From: ago(9000 * time.Hour), To: ago(3 * time.Hour)},
	}
	m.Facts = []ui.Property{
		{Name: "Log made durable", Value: "2026-11-23 11:03:39 UTC"}, {Name: "Kept as they came", Value: "30 d"}, {Name: "Series in all", Value: "104,118 of 2,000,000"},
		{Name: "Series of one source", Value: "at most 500,000"}, {Name: "Labels of a series", Value: "at most 64"}, {Name: "Length of a label", Value: "name at most 1,024 bytes, value 4,096"},
	}
	return m
}

func sickHistory() admin.History {
	m := healthyHistory()
	m.ReadOnly = "Since 2026-11-23 10:41:12 UTC: /var/lib/nocturne/history has 12 MB free, 80 MB are needed"
	m.Verdict = admin.Verdict{State: ui.Critical, Title: "History is read-only since 2026-11-23 10:41:12 UTC: no samples are taken. What is stored can be asked.", Reasons: []admin.Reason{
		{State: ui.Critical, Href: "#limits", Text: "/var/lib/nocturne/history has 12 MB free, 80 MB are needed. It takes samples again by itself once there is room."},
		{State: ui.Critical, Href: "#remote", Text: "The store that samples are read from: does not answer since 2026-11-23 10:59:00 UTC: connection refused."},
		{State: ui.Major, Href: "#damage", Text: "2 stretches of the log could not be read: samples are lost."},
		{State: ui.Major, Href: "#damage", Text: "2 parts were damaged and set aside."},
		{State: ui.Major, Href: "#receivers", Text: "Receiver archive does not take samples; they wait here and are sent again."},
		{State: ui.Warning, Href: "#sources", Text: "1,712,004 of 2,000,000 series that may be in memory are."},
		{State: ui.Unknown, Href: "#receivers", Text: "Receiver lake has answered nothing since the start."},
	}}
	m.Tiles[0] = admin.Tile{Label: "Series in memory", Value: "1.71 M", Hint: "of 2 M at most", Share: .856, State: ui.Warning}
	m.Tiles[2] = admin.Tile{Label: "Samples rejected", Value: "418 k", Hint: "3.1 % of what came since the start"}
	m.Tiles[4] = admin.Tile{Label: "Free on its disk", Value: "12.6 MB", Hint: "read-only below 67.1 MB"}
	m.Tiles[5] = admin.Tile{Label: "Last made durable", Value: "22 min ago", Hint: "done every half second"}
	m.Sources, m.Known, m.Pager.Total = nil, 12, 12
	for i, s := range []ui.State{ui.Major, ui.Major, ui.Warning, ui.Warning, ui.Unknown, ui.OK} {
		m.Sources = append(m.Sources, admin.Source{Name: fmt.Sprintf("write:edge-%02d", i+1), State: s, Series: []int{500_000, 0, 431_007, 61_200, 0, 42_010}[i], Limit: 500_000, Appended: []int{6_113_004, 0, 5_002_118, 911_204, 0, 933_871}[i]})
	}
	at := func(i int, why string, reasons ...admin.Rejected) {
		m.Sources[i].Why, m.Sources[i].Reasons = why, reasons
		for _, r := range reasons {
			m.Sources[i].Rejected += r.N
		}
	}
	at(0, "at its limit of series: new ones are rejected", admin.Rejected{Reason: "over the source's limit", N: 311_402}, admin.Rejected{Reason: "from the future", N: 61})
	at(1, "all it sent was rejected", admin.Rejected{Reason: "too old", N: 40_118})
	at(2, "near its limit of series")
	at(3, "6.8 % of its samples were rejected", admin.Rejected{Reason: "labels too many or too long", N: 4_021}, admin.Rejected{Reason: "invalid", N: 118}, admin.Rejected{Reason: "too old", N: 51_000}, admin.Rejected{Reason: "out of order", N: 11_000}, admin.Rejected{Reason: "another value at the same time", N: 211})
	at(4, "has sent nothing since the start")
	m.Sources[3].Name = "write:" + longName
	m.To = []admin.Receiver{
		{Name: "archive", URL: "https://archive.example.net/api/v1/write", State: ui.Major, Why: "does not take samples; they wait here and are sent again", Lag: 6*time.Hour + 12*time.Minute, Position: ago(6*time.Hour + 12*time.Minute),
			Waiting: 711_204_118, Sent: 6_004_118, Retries: 1_204, Err: "Post \"https://archive.example.net/api/v1/write\": dial tcp 192.0.2.17:443: connect: connection refused", ErrAt: ago(9 * time.Second)},
		{Name: "second", URL: "https://second.example.net/api/v1/write", State: ui.Warning, Why: "catching up from the blocks: 2026-11-22 07:00:00 to 2026-11-23 05:00:00 UTC", Lag: 27 * time.Hour, Position: ago(27 * time.Hour),
			From: ago(28 * time.Hour), To: ago(6 * time.Hour), Waiting: 402_118_004, Sent: 2_118_400, Refused: 71, Dropped: 1_204, Err: "answered 400 Bad Request: out of order sample", ErrAt: ago(3 * time.Hour)},
		{Name: "lake", URL: "http://127.0.0.1:8428/api/v1/write", State: ui.Unknown, Why: "has answered nothing since the start", Waiting: 11_204_118},
	}
	m.Remote = &admin.RemoteHistory{URL: "https://store.example.net/prometheus", State: ui.Critical, Why: "does not answer since 2026-11-23 10:59:00 UTC: connection refused", Last: ago(5 * time.Minute), Behind: 11 * time.Minute}
	m.Lost = []admin.Lost{
		{File: "log.lost-20261123T081104.118Z/wal/00000418", Bytes: 32_768, From: ago(30 * time.Hour), To: ago(30*time.Hour - 14*time.Second)},
		{Samples: 1_204, From: ago(29 * time.Hour), To: ago(28 * time.Hour)},
	}
	m.SetAside = []string{"01JDAV7M3Q2W8Y4T5K6N9R0XZB.damaged", "chunks_head.damaged/000412"}
	return m
}

func historyPages() []shown {
	sickLight := sickHistory()
	sickLight.Page = light(sickLight.Page)
	none := admin.History{Page: emptyPage("History", "/admin/history"), Query: ui.Query{Path: "/admin/history", Page: 1}, Opened: ago(2 * time.Second),
		Verdict: admin.Verdict{State: ui.Unknown, Title: "Not all is known of the history yet", Reasons: []admin.Reason{{State: ui.Unknown, Href: "#limits", Text: "Nothing was made durable yet."}}},
		Tiles: []admin.Tile{
			{Label: "Series in memory", Value: "0", Hint: "of 2 M at most", State: ui.OK}, {Label: "Samples taken", Value: "0", Hint: "since the start"}, {Label: "Samples rejected", Value: "0", Hint: "none since the start"},
			{Label: "Held", Value: "–", Hint: "nothing yet"}, {Label: "Free on its disk", Value: "212 GB", Hint: "read-only below 67.1 MB"}, {Label: "Last made durable", Value: "never", Hint: "done every half second"},
		},
		Facts: healthyHistory().Facts[1:]}
	none.Role, none.User = "viewer", "jonas"
	return []shown{
		{name: "admin-history", path: "/admin/history", page: admin.HistoryPage(healthyHistory())},
		{name: "admin-history-sick", path: "/admin/history-sick", page: admin.HistoryPage(sickHistory())},
		{name: "admin-history-sick-light", path: "/admin/history-sick-light", page: admin.HistoryPage(sickLight)},
		{name: "admin-history-empty", path: "/admin/history-empty", page: admin.HistoryPage(none)},
	}
}
