package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"nocturne/collector"
)

// Local polls this machine.
type Local struct{}

// NewLocal returns the Source of kind "local".
func NewLocal() *Local { return &Local{} }

var localFiles = map[string]string{
	"stat":      "/proc/stat",
	"meminfo":   "/proc/meminfo",
	"loadavg":   "/proc/loadavg",
	"diskstats": "/proc/diskstats",
	"netdev":    "/proc/net/dev",
	"mounts":    "/proc/self/mountinfo", // see mountsOf
	"osrelease": "/etc/os-release",
}

// Poll reads this machine's sections.
func (*Local) Poll(ctx context.Context, t collector.Target) (collector.Result, error) {
	sections := map[string][]byte{"identity": localIdentity()}
	for name, file := range localFiles {
		if b, err := os.ReadFile(file); err == nil { // a missing one is a missing section
			sections[name] = b
		}
	}
	if len(sections) == 1 {
		return collector.Result{}, fmt.Errorf("poll %s: this machine has no /proc to read", t.Name)
	}
	if b, ok := sections["mounts"]; ok {
		sections["mounts"] = mountsOf(b)
	}
	if b, err := localUname(); err == nil {
		sections["uname"] = b
	}
	sections["statfs"] = localStatfs(sections["mounts"])
	sections["units"] = localUnits(ctx)
	return read(t, sections), nil
}

func localIdentity() []byte {
	line := func(name, file string) string {
		b, _ := os.ReadFile(file) // not there or not readable: not known
		return name + " " + strings.TrimSpace(string(b)) + "\n"
	}
	return []byte(line("machine-id", "/etc/machine-id") + line("system-uuid", "/sys/class/dmi/id/product_uuid"))
}

func localUname() ([]byte, error) {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	return []byte(strings.Join([]string{
		text(u.Sysname), text(u.Nodename), text(u.Release), text(u.Version), text(u.Machine), text(u.Domainname),
	}, "\n") + "\n"), nil
}

// text is a C string; its bytes are signed on some architectures.
func text[B int8 | uint8](c [65]B) string {
	var b []byte
	for _, x := range c {
		if x == 0 {
			break
		}
		b = append(b, byte(x))
	}
	return string(b)
}

// mountsOf turns mountinfo (proc_pid_mountinfo(5)) into lines of fstab(5) with
// the options of the filesystem in the place of the mount's: within the
// service's sandbox each mount is read-only, and the machine is not.
func mountsOf(mountinfo []byte) []byte {
	var out []byte
	for _, line := range lines(mountinfo) {
		mount, filesystem, ok := strings.Cut(line, " - ")
		m, f := strings.Fields(mount), strings.Fields(filesystem)
		if !ok || len(m) < 6 || len(f) < 3 {
			out = append(out, "?\n"...) // read says which line is too short
			continue
		}
		out = fmt.Appendf(out, "%s %s %s %s 0 0\n", f[1], m[4], f[0], f[2])
	}
	return out
}

// localStatfs prints what the script's stat -f prints.
func localStatfs(mounts []byte) []byte {
	all, err := parseMounts(mounts)
	if err != nil {
		return nil // read says so, from the same text
	}
	var out []byte
	for _, m := range all {
		var s syscall.Statfs_t
		if syscall.Statfs(m.dir, &s) == nil { // without a line read reports the place
			out = fmt.Appendf(out, "%d %d %d %d %s\n", s.Frsize, s.Blocks, s.Bfree, s.Bavail, m.dir)
		}
	}
	return out
}

func localUnits(ctx context.Context) []byte {
	f := strings.Fields(listUnits)
	cmd := exec.CommandContext(ctx, f[0], f[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return []byte(notInstalled)
	}
	if err != nil && len(out) == 0 {
		return []byte(err.Error())
	}
	return out
}
