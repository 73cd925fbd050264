package linux

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// uname reads the six lines of section uname.
func (r *reading) uname(text []byte) error {
	f := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(f) < 5 || f[0] == "" || f[1] == "" {
		return errors.New("it is not sysname, nodename, release, version, machine, domain name")
	}
	domain := "(none)"
	if len(f) > 5 {
		domain = f[5]
	}
	r.add("node_uname_info", 1, "sysname", f[0], "nodename", f[1], "release", f[2], "version", f[3], "machine", f[4], "domainname", domain)
	r.field("hostname", f[1])
	r.field("kernel", f[0]+" "+f[2])
	r.field("architecture", f[4])
	return nil
}

// osRelease reads /etc/os-release (os-release(5)).
func (r *reading) osRelease(text []byte) error {
	kv := map[string]string{}
	for _, line := range lines(text) {
		if name, v, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(name, "#") {
			kv[strings.TrimSpace(name)] = unquote(strings.TrimSpace(v))
		}
	}
	name := kv["PRETTY_NAME"]
	if name == "" {
		name = strings.TrimSpace(kv["NAME"] + " " + kv["VERSION_ID"])
	}
	if name == "" {
		return errors.New("it has no NAME")
	}
	r.add("node_os_info", 1, "id", kv["ID"], "name", kv["NAME"], "pretty_name", name, "version_id", kv["VERSION_ID"], "version_codename", kv["VERSION_CODENAME"])
	r.field("os", name)
	return nil
}

var unescapeShell = strings.NewReplacer(`\"`, `"`, `\$`, `$`, `\\`, `\`, "\\`", "`")

func unquote(v string) string {
	if len(v) < 2 || v[0] != v[len(v)-1] {
		return v
	}
	switch v[0] {
	case '"':
		return unescapeShell.Replace(v[1 : len(v)-1])
	case '\'':
		return v[1 : len(v)-1]
	}
	return v
}

// identity reads what names the machine for good. The system UUID (SMBIOS) is
// readable to root only; neither being there is nothing amiss.
func (r *reading) identity(text []byte) error {
	for n, line := range lines(text) {
		name, v, _ := strings.Cut(line, " ")
		switch name {
		case "machine-id":
			r.field("machineID", v)
		case "system-uuid":
			r.field("systemUUID", strings.ToLower(v))
		default:
			return fmt.Errorf("line %d: %.40q is not known", n, line)
		}
	}
	return nil
}

// unitStates are those of node_exporter.
var unitStates = []string{"active", "activating", "deactivating", "failed", "inactive"}

// units reads systemctl list-units: UNIT LOAD ACTIVE SUB DESCRIPTION. Units
// that are not loaded (not-found, masked) have no state of their own. The
// label type of node_exporter is left out: this output does not tell it. A
// machine without systemd has none.
func (r *reading) units(text []byte) error {
	if bytes.HasPrefix(text, []byte(notBooted)) || bytes.HasSuffix(bytes.TrimSpace(text), []byte(notInstalled)) {
		return nil
	}
	seen := map[string]bool{}
	for _, line := range lines(text) {
		f := strings.Fields(strings.TrimLeft(line, "●*×○ ")) // old versions mark failed units in spite of --plain
		if len(f) < 4 || !strings.HasSuffix(f[0], ".service") {
			return fmt.Errorf("no list of units: %.120q", strings.TrimSpace(line))
		}
		if f[1] != "loaded" || seen[f[0]] {
			continue
		}
		seen[f[0]] = true
		for _, state := range unitStates {
			v := 0.0
			if f[2] == state {
				v = 1
			}
			r.add("node_systemd_unit_state", v, "name", f[0], "state", state)
		}
	}
	if len(seen) == 0 {
		return errors.New("no list of units: it is empty")
	}
	return nil
}
