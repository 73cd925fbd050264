// Package inventory knows what there is and what hangs on what: sites, rooms,
// racks, devices, interfaces, links, hosts, hypervisors, instances and
// applications, the relations between them, who says so since when, and which
// series belong to which item at which time.
//
// # Statements
//
// Each field of an item keeps one claim a source. The value shown is the claim
// of the source that ranks highest (a person or an import before any
// discovery), among equals the one that changed last. A claim's time is the
// time since when its source says so, so an unchanged poll writes nothing.
//
// What a complete observation of a target no longer holds becomes Missing; it
// is never deleted. A partial observation says nothing about what it lacks.
// Where several targets of one source see an item, one of them speaks for the
// source and the others only see it: else it would change with every poll.
// Series of each of them are the item's.
//
// # On disk
//
// One record an item in table "inventory.item": claims, seers, relations whose
// From is the item, bindings. One record a target in "inventory.target": the
// time of its last complete observation, written at most once a minute, from
// which LastSeen of what that target shows is restored. After a restart LastSeen
// may therefore be too old by a minute, never too young.
//
// What an import changes is written aside first, as EDIT/NUMBER in table
// "inventory.part". With the last part it is decided: it is then written out, at
// the latest by the next Open, and the parts are removed. Parts without their
// last are of an import that was cut short, and are thrown away.
//
// # The YAML file
//
//	sites:
//	- name: lab                      # site/lab
//	  title: The lab
//	  rooms:
//	  - name: hall                   # room/lab/hall
//	    title: Hall 1
//	    racks:
//	    - name: r01                  # rack/r01
//	      title: Rack 1
//	      units: 42                  # 42 when left out
//	      row: A
//	      contents:
//	      - {kind: device, name: leaf1, u: 40, height: 1, face: front}
//	      - {kind: device, name: pdu1, face: rear}      # no u: zero-U, at the side
//	applications:
//	- name: shop                     # application/shop
//	  title: The shop
//	  depends_on: [host/web-1]
//	items:                           # anything else that is said of an item
//	- id: device/leaf1
//	  name: Leaf 1
//	  fields: {role: leaf}
//	  seen: {snmp: {sysName: leaf1}} # what discovery said; kept as its claim
//	  names: {snmp: leaf1}           # likewise, of the name
//	relations:
//	- {from: host/web-1, type: powered-by, to: device/pdu1, fields: {feed: A}}
//	- {from: a/b, type: part-of, to: c/d, source: snmp} # discovered; import when left out
//
// u is the lowest unit, counted from 1 at the bottom; u and height go in half
// units; height is 1 when left out. An import adds and changes, it takes
// nothing away, and it happens wholly or, with a fault anywhere, not at all;
// neither does the end of the program leave half of it.
// Items that no source has seen yet exist with the one source "import": they
// are planned.
package inventory
