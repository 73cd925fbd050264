package linux

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// mount is one line of /proc/self/mounts (fstab(5)).
type mount struct {
	device, dir, fstype string
	readonly            bool
}

// notMounted are places of software, not of the host's data.
var notMounted = []string{"/dev", "/proc", "/sys", "/run/credentials", "/run/user", "/var/lib/docker", "/var/lib/containers/storage", "/var/lib/kubelet"}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseMounts returns the mounts of local filesystems whose size is worth a
// series: the last one at each place, and of a device mounted at several
// places (bind mounts) the shortest path.
func parseMounts(text []byte) ([]mount, error) {
	byDir := map[string]mount{}
	var order []string
	for n, line := range lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 {
			return nil, fmt.Errorf("mounts: line %d: %.40q is too short", n, line)
		}
		m := mount{unescapeMount.Replace(f[0]), unescapeMount.Replace(f[1]), f[2], slices.Contains(strings.Split(f[3], ","), "ro")}
		if _, seen := byDir[m.dir]; !seen {
			order = append(order, m.dir)
		}
		byDir[m.dir] = m
	}
	if len(byDir) == 0 {
		return nil, errors.New("mounts: it is empty")
	}
	shortest := map[string]string{}
	for _, dir := range order {
		m := byDir[dir]
		if s, ok := shortest[m.device]; strings.HasPrefix(m.device, "/") && (!ok || len(dir) < len(s)) {
			shortest[m.device] = dir
		}
	}
	var out []mount
	for _, dir := range order {
		m := byDir[dir]
		s, isDevice := shortest[m.device]
		if isLocalType[m.fstype] && !skipDir(dir) && (!isDevice || s == dir) {
			out = append(out, m)
		}
	}
	return out, nil
}

func skipDir(dir string) bool {
	return slices.ContainsFunc(notMounted, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") })
}

// filesystems joins the sections mounts and statfs.
func (r *reading) filesystems(text []byte) error {
	raw, ok := r.sections["mounts"]
	if !ok {
		return errors.New("mounts: the section is missing")
	}
	mounts, err := parseMounts(raw)
	if err != nil {
		return err
	}
	sizes := map[string][]float64{}
	for n, line := range lines(text) {
		f := strings.SplitN(line, " ", 5)
		if len(f) < 5 {
			return fmt.Errorf("line %d: %.40q is too short", n, line)
		}
		if sizes[f[4]], err = numbers(f[:4]); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	var missing []error
	for _, m := range mounts {
		kv := []string{"device", m.device, "mountpoint", m.dir, "fstype", m.fstype}
		s := sizes[m.dir]
		if s == nil {
			missing = append(missing, fmt.Errorf("no size of %q", m.dir))
			continue
		}
		r.add("node_filesystem_size_bytes", s[0]*s[1], kv...)
		r.add("node_filesystem_free_bytes", s[0]*s[2], kv...)
		r.add("node_filesystem_avail_bytes", s[0]*s[3], kv...)
		ro := 0.0
		if m.readonly {
			ro = 1
		}
		r.add("node_filesystem_readonly", ro, kv...)
	}
	return errors.Join(missing...)
}
