package web

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"nocturne/tsdb/live"
	"nocturne/views/ui"
)

// panel is one chart of a page, as data. In its queries $sel stands for the
// label equalities of the item, $w for the time that a rate is taken over and
// $pick for the matcher that Pick leads to.
type panel struct {
	Name, Title, Unit, Empty string
	Kinds                    []string // of items
	Job                      string   // of the item's series
	Live                     bool     // drawn by the second while somebody looks
	Pick, By                 string   // an instant query; its values of label By are drawn
	Lines                    []line
	Now                      []line // by the second, where that asks for fewer series; Lines else
}

// now are the lines by the second.
func (p panel) now() []line {
	if len(p.Now) > 0 {
		return p.Now
	}
	return p.Lines
}

// line is one query of a panel. In Label, {name} stands for a label's value;
// it names the series within the panel.
type line struct{ Query, Label string }

const (
	// What carries the traffic of other devices would count it twice.
	uplinks = `device!~"lo|veth.*|docker.*|br-.*|virbr.*|tap.*|cali.*"`
	disks   = `fstype!~"tmpfs|ramfs|devtmpfs|squashfs"`

	busiest = `topk(6, max by (ifName) (rate(ifHCInOctets{$sel}[$w]) + rate(ifHCOutOctets{$sel}[$w]) or rate(ifInOctets{$sel}[$w]) + rate(ifOutOctets{$sel}[$w])))`
	bitsIn  = `rate(ifHCInOctets{$sel$pick}[$w]) * 8 or rate(ifInOctets{$sel$pick}[$w]) * 8`
	bitsOut = `rate(ifHCOutOctets{$sel$pick}[$w]) * 8 or rate(ifOutOctets{$sel$pick}[$w]) * 8`
)

// faults are the lines of what an interface or a whole device could not carry.
var faults = []line{
	{`sum(rate(ifInErrors{$sel}[$w]))`, "errors in"},
	{`sum(rate(ifOutErrors{$sel}[$w]))`, "errors out"},
	{`sum(rate(ifInDiscards{$sel}[$w]))`, "discards in"},
	{`sum(rate(ifOutDiscards{$sel}[$w]))`, "discards out"},
}

// panels are all charts, in the order of a page.
var panels = []panel{
	{
		Name: "received", Title: "Received, busiest interfaces", Unit: "bit/s", Kinds: []string{"device"}, Job: "snmp", Live: true,
		Empty: "No interface of this device counts octets.", Pick: busiest, By: "ifName", Lines: []line{{bitsIn, "{ifName}"}},
	}, {
		Name: "sent", Title: "Sent, busiest interfaces", Unit: "bit/s", Kinds: []string{"device"}, Job: "snmp", Live: true,
		Empty: "No interface of this device counts octets.", Pick: busiest, By: "ifName", Lines: []line{{bitsOut, "{ifName}"}},
	}, {
		Name: "traffic", Title: "Traffic", Unit: "bit/s", Kinds: []string{"interface"}, Job: "snmp", Live: true,
		Lines: []line{{bitsIn, "received"}, {bitsOut, "sent"}},
	}, {
		Name: "faults", Title: "Errors and discards", Unit: "packets/s", Kinds: []string{"device", "interface"}, Job: "snmp", Lines: faults,
	}, {
		Name: "cpu", Title: "CPU busy", Unit: "percent", Kinds: []string{"host"}, Job: "linux", Live: true,
		Lines: []line{{`100 * (1 - sum(rate(node_cpu_seconds_total{$sel,mode="idle"}[$w])) / sum(rate(node_cpu_seconds_total{$sel}[$w])))`, "busy"}},
		Now:   []line{{`100 * (1 - avg(rate(node_cpu_seconds_total{$sel,mode="idle"}[$w])))`, "busy"}},
	}, {
		Name: "memory", Title: "Memory used", Unit: "percent", Kinds: []string{"host"}, Job: "linux", Live: true,
		Lines: []line{{`100 * (1 - node_memory_MemAvailable_bytes{$sel} / node_memory_MemTotal_bytes{$sel})`, "used"}},
	}, {
		Name: "network", Title: "Network", Unit: "bit/s", Kinds: []string{"host"}, Job: "linux", Live: true,
		Lines: []line{
			{`sum(rate(node_network_receive_bytes_total{$sel,` + uplinks + `}[$w])) * 8`, "received"},
			{`sum(rate(node_network_transmit_bytes_total{$sel,` + uplinks + `}[$w])) * 8`, "sent"},
		},
	}, {
		Name: "disks", Title: "Disk used", Unit: "percent", Kinds: []string{"host"}, Job: "linux", Live: true,
		Empty: "This host tells of no file system.", By: "mountpoint",
		Pick:  `topk(6, max by (mountpoint) (1 - node_filesystem_avail_bytes{$sel,` + disks + `} / node_filesystem_size_bytes{$sel,` + disks + `}))`,
		Lines: []line{{`100 * max by (mountpoint) (1 - node_filesystem_avail_bytes{$sel,` + disks + `$pick} / node_filesystem_size_bytes{$sel,` + disks + `$pick})`, "{mountpoint}"}},
	}, {
		Name: "load", Title: "Load", Kinds: []string{"host"}, Job: "linux", Live: true,
		Lines: []line{{`node_load1{$sel}`, "1 minute"}},
	}, {
		Name: "cpu", Title: "CPU of this program", Unit: "percent", Kinds: []string{"appliance"}, Job: "nocturne", Live: true,
		Lines: []line{{`100 * rate(process_cpu_seconds_total{$sel}[$w])`, "of one processor"}},
	}, {
		Name: "memory", Title: "Memory of this program", Unit: "bytes", Kinds: []string{"appliance"}, Job: "nocturne", Live: true,
		Lines: []line{{`process_resident_memory_bytes{$sel}`, "resident"}, {`go_memstats_heap_inuse_bytes{$sel}`, "heap"}},
	}, {
		Name: "samples", Title: "Samples taken", Unit: "samples/s", Kinds: []string{"appliance"}, Job: "nocturne", Live: true,
		Lines: []line{{`rate(nocturne_tsdb_samples_appended_total{$sel}[$w])`, "taken"}},
	}, {
		Name: "polls", Title: "Polls", Unit: "polls/s", Kinds: []string{"appliance"}, Job: "nocturne", Live: true,
		Lines: []line{
			{`sum(rate(nocturne_collector_polls_total{$sel}[$w]))`, "ended"}, {`sum(rate(nocturne_collector_poll_failures_total{$sel}[$w]))`, "not answered"},
			{`sum(rate(nocturne_collector_missed_polls_total{$sel}[$w]))`, "not begun in time"},
		},
	}, {
		Name: "sync", Title: "Time to make the log durable", Unit: "seconds", Kinds: []string{"appliance"}, Job: "nocturne", Live: true,
		Lines: []line{{`rate(nocturne_tsdb_log_sync_duration_seconds_sum{$sel}[$w]) / rate(nocturne_tsdb_log_sync_duration_seconds_count{$sel}[$w])`, "mean"}},
	}, {
		Name: "room", Title: "Room on the disk of the data", Unit: "bytes", Kinds: []string{"appliance"}, Job: "nocturne",
		Lines: []line{{`nocturne_data_free_bytes{$sel}`, "free"}},
	}, {
		Name: "vcpus", Title: "Virtual CPUs", Kinds: []string{"hypervisor"}, Job: "openstack",
		Lines: []line{{`max(openstack_nova_vcpus_used{$sel})`, "used"}, {`max(openstack_nova_vcpus_available{$sel})`, "in all"}},
	}, {
		Name: "memory", Title: "Memory given to instances", Unit: "bytes", Kinds: []string{"hypervisor"}, Job: "openstack",
		Lines: []line{{`max(openstack_nova_memory_used_bytes{$sel})`, "used"}, {`max(openstack_nova_memory_available_bytes{$sel})`, "in all"}},
	}, {
		Name: "active", Title: "Active: 1, any other status: 0", Kinds: []string{"instance"}, Job: "openstack",
		Lines: []line{{`max(openstack_nova_server_status{$sel} == bool 0)`, "active"}},
	},
}

// expr fills a query in.
func expr(query, sel, pick string, w time.Duration) string {
	return strings.NewReplacer("$sel", sel, "$pick", pick, "$w", fmt.Sprintf("%dms", w.Milliseconds())).Replace(query)
}

// label names a series.
func (l line) label(ls labels.Labels) string {
	var out strings.Builder
	rest := l.Label
	for {
		before, after, ok := strings.Cut(rest, "{")
		name, behind, closed := strings.Cut(after, "}")
		if !ok || !closed {
			return out.String() + rest
		}
		out.WriteString(before + ls.Get(name))
		rest = behind
	}
}

// drawn are the matchers of all series that panels draw by the second.
var drawn = sync.OnceValue(func() [][]*labels.Matcher {
	p := parser.NewParser(parser.Options{})
	var out [][]*labels.Matcher
	for _, pn := range panels {
		for _, l := range pn.now() {
			if !pn.Live {
				continue
			}
			e, err := p.ParseExpr(expr(l.Query, `job="`+pn.Job+`"`, "", live.Lookback))
			if err != nil {
				panic(fmt.Sprintf("panel %s: %v", pn.Name, err))
			}
			out = append(out, parser.ExtractSelectors(e)...)
		}
	}
	return out
})

// Drawn tells whether a page that watches its target draws this series.
func Drawn(ls labels.Labels) bool {
	return slices.ContainsFunc(drawn(), func(ms []*labels.Matcher) bool {
		return !slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(ls.Get(m.Name)) })
	})
}

// panelsFor are the charts of an item, by its ID; none where nothing of it is
// measured.
func (s *Server) panelsFor(id string) []ui.Chart {
	var out []ui.Chart
	for _, p := range panelsOf(id) {
		if s.selectorOf(id, p.Job) == "" {
			continue
		}
		c := ui.Chart{
			ID: "chart-" + p.Name, Title: p.Title, Unit: p.Unit, Panel: p.Name, Empty: p.Empty,
			Src: "/api/nocturne/v1/chart?item=" + url.QueryEscape(id) + "&panel=" + p.Name,
		}
		if p.Live {
			c.Item = id
		}
		out = append(out, c)
	}
	return out
}

func panelsOf(id string) []panel {
	kind, _, _ := strings.Cut(id, "/")
	return slices.DeleteFunc(slices.Clone(panels), func(p panel) bool { return !slices.Contains(p.Kinds, kind) })
}

// selectorOf is the item's series of one job as PromQL label matchers.
func (s *Server) selectorOf(id, job string) string {
	for _, b := range s.Graph.Bindings(id) {
		if !b.Until.IsZero() || b.Labels["job"] != job {
			continue
		}
		var parts []string
		for _, p := range properties(b.Labels) {
			parts = append(parts, fmt.Sprintf("%s=%q", p.Name, p.Value))
		}
		return strings.Join(parts, ",")
	}
	return ""
}
