package lab

import (
	"fmt"
	"slices"
	"strings"
)

// CloudName is the target by which the inventory knows the cloud.
const CloudName = "lab-cloud"

// Inventory is what a person would have written of the hall, in nocturne's
// import format: where things stand, what feeds them, which application needs
// which host. It names no cable: those are to be discovered.
func (l *Lab) Inventory() []byte {
	var b strings.Builder
	b.WriteString("sites:\n- name: lab\n  title: Lab\n  rooms:\n  - name: hall\n    title: Hall 1\n    racks:\n")
	for _, r := range l.racks {
		fmt.Fprintf(&b, "    - name: %s\n      title: %s\n      row: %s\n      units: %d\n      contents:\n", r.Name, strings.ToUpper(r.Name), r.Row, r.Units)
		for _, a := range l.agents {
			l.writePlace(&b, r.Name, "device", a.name, a.place)
		}
		for _, h := range l.hosts {
			l.writePlace(&b, r.Name, "host", h.name, h.place)
		}
	}
	b.WriteString("applications:\n")
	apps, members := l.applications()
	for _, app := range apps {
		fmt.Fprintf(&b, "- name: %s\n  depends_on: [%s]\n", app, strings.Join(members[app], ", "))
	}
	b.WriteString("items:\n")
	for _, a := range l.agents {
		fmt.Fprintf(&b, "- id: device/%s\n  fields: {role: %s}\n", a.name, a.role)
	}
	for _, name := range computeNames {
		if _, err := l.host(name); err == nil {
			fmt.Fprintf(&b, "- id: hypervisor/%s/%s\n", CloudName, name)
		}
	}
	b.WriteString("relations:\n")
	for _, name := range computeNames {
		if _, err := l.host(name); err == nil {
			fmt.Fprintf(&b, "- {from: hypervisor/%s/%s, type: runs-on, to: host/%s}\n", CloudName, name, name)
		}
	}
	for _, a := range l.agents {
		if a.role != "pdu" {
			l.writePower(&b, "device/"+a.name, a.place.Rack)
		}
	}
	for _, h := range l.hosts {
		l.writePower(&b, "host/"+h.name, h.place.Rack)
	}
	return []byte(b.String())
}

func (l *Lab) writePlace(b *strings.Builder, rack, kind, name string, p Place) {
	if p.Rack != rack {
		return
	}
	if p.U == 0 {
		fmt.Fprintf(b, "      - {kind: %s, name: %s, face: %s}\n", kind, name, p.Face)
		return
	}
	fmt.Fprintf(b, "      - {kind: %s, name: %s, u: %d, height: %d, face: %s}\n", kind, name, p.U, p.Height, p.Face)
}

// writePower hangs an item on both feeds of its rack.
func (l *Lab) writePower(b *strings.Builder, id, rack string) {
	for _, feed := range []string{"a", "b"} {
		fmt.Fprintf(b, "- {from: %s, type: powered-by, to: device/pdu-%s%s, fields: {feed: %s}}\n", id, rack, feed, strings.ToUpper(feed))
	}
}

// applications groups the hosts by what their names begin with.
func (l *Lab) applications() ([]string, map[string][]string) {
	of := map[string]string{"pay": "card-payments", "auth": "card-payments", "settle": "settlement", "db": "settlement", "web": "merchant-portal", "msg": "merchant-portal"}
	members := map[string][]string{}
	var names []string
	for _, h := range l.hosts {
		prefix, _, _ := strings.Cut(h.name, "-")
		app, ok := of[prefix]
		if !ok {
			continue
		}
		if members[app] == nil {
			names = append(names, app)
		}
		members[app] = append(members[app], "host/"+h.name)
	}
	slices.Sort(names)
	return names, members
}
