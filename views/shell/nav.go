package shell

import (
	"strconv"
	"strings"

	"nocturne/views/ui"
)

type entry struct{ href, label, icon string }

type section struct {
	label   string
	entries []entry
}

func sections(p Page) []section {
	all := []section{
		{"See", []entry{
			{"/", "Overview", "layout-dashboard"},
			{"/alerts", "Alerts", "bell"},
			{"/devices", "Devices", "server"},
		}},
		{"Walls", []entry{
			{"/racks", "Racks", "rows-3"},
			{"/topology", "Topology", "network"},
		}},
		{"Act", []entry{
			{"/jobs", "Jobs", "terminal"},
			{"/reports", "Reports", "list-checks"},
		}},
		{"Know", []entry{
			{"/inventory", "Inventory", "boxes"},
		}},
	}
	if p.Administrator() {
		all[3].entries = append(all[3].entries, entry{"/admin", "Administration", "settings"})
	} else if p.Role != "" {
		all[3].entries = append(all[3].entries, entry{"/admin/history", "History", "database"})
	}
	return all
}

// at says whether the page at path belongs to the navigation entry.
func (e entry) at(path string) bool {
	switch e.href {
	case "/":
		return path == "/"
	case "/devices":
		return strings.HasPrefix(path, "/device")
	case "/racks":
		return strings.HasPrefix(path, "/rack")
	case "/alerts":
		return strings.HasPrefix(path, "/alert") || strings.HasPrefix(path, "/incident")
	}
	return strings.HasPrefix(path, e.href)
}

func (p Page) theme() string {
	if p.Theme == "light" {
		return "light"
	}
	return "dark"
}

func (p Page) topics() string {
	return strings.Join(append([]string{"status"}, p.Topics...), ",")
}

func (p Page) initials() string {
	r := []rune(p.User)
	return string(r[:min(2, len(r))])
}

func byState(s ui.State) string { return "/devices?state=" + string(s) }

func count(n int) string { return strconv.Itoa(n) }
