package linux

import (
	"bytes"
	"strings"
)

// Marker begins the line that leads a section; a blank and the section's name
// follow.
const Marker = "@@nocturne"

// Sections are the names of the sections in the order in which Script prints
// them.
var Sections = []string{
	"stat", "meminfo", "loadavg", "diskstats", "netdev", "mounts", "statfs", "uname", "osrelease", "identity", "units", "end",
}

// Script is the exact command that Remote sends.
const Script = `LC_ALL=C; export LC_ALL
exec 2>/dev/null
echo '@@nocturne stat'; cat /proc/stat
echo '@@nocturne meminfo'; cat /proc/meminfo
echo '@@nocturne loadavg'; cat /proc/loadavg
echo '@@nocturne diskstats'; cat /proc/diskstats
echo '@@nocturne netdev'; cat /proc/net/dev
echo '@@nocturne mounts'; cat /proc/self/mounts
echo '@@nocturne statfs'
set --
while read -r dev dir type rest; do
case $type in ` + localTypes + `)
case $dir in *\\*) dir=$(printf '%b' "$dir") ;; esac
set -- "$@" "$dir" ;;
esac
done </proc/self/mounts
stat -f -c '%S %b %f %a %n' "$@"
echo '@@nocturne uname'; uname -s; uname -n; uname -r; uname -v; uname -m; cat /proc/sys/kernel/domainname
echo '@@nocturne osrelease'; cat /etc/os-release
echo '@@nocturne identity'
echo "machine-id $(cat /etc/machine-id)"
echo "system-uuid $(cat /sys/class/dmi/id/product_uuid)"
echo '@@nocturne units'
` + listUnits + ` 2>&1 || [ $? != 127 ] || echo '` + notInstalled + `'
echo '@@nocturne end'
`

// listUnits is the one way in which unit states are asked for.
const listUnits = "systemctl list-units --type=service --all --plain --no-legend --no-pager"

// A machine without systemd has no units, and nothing of it is left unseen.
const (
	// notInstalled is the section's last line where there is no systemctl.
	notInstalled = "systemctl is not installed"
	// notBooted is how systemctl begins when sd_booted(3) says no.
	notBooted = "System has not been booted with systemd"
)

// localTypes are the filesystems whose size is asked for.
const localTypes = "ext2|ext3|ext4|xfs|btrfs|zfs|f2fs|jfs|reiserfs|bcachefs|vfat|exfat|ntfs3|tmpfs|overlay"

var isLocalType = func() map[string]bool {
	m := map[string]bool{}
	for t := range strings.SplitSeq(localTypes, "|") {
		m[t] = true
	}
	return m
}()

// split cuts the script's output into its complete sections.
func split(out []byte) map[string][]byte {
	sections := map[string][]byte{}
	name, from := "", 0
	for at := 0; at < len(out); {
		end := bytes.IndexByte(out[at:], '\n')
		if end < 0 {
			break
		}
		line := out[at : at+end]
		if rest, ok := bytes.CutPrefix(line, []byte(Marker+" ")); ok {
			if name != "" {
				sections[name] = out[from:at]
			}
			name, from = string(bytes.TrimSpace(rest)), at+end+1
			if name == "end" {
				sections[name] = nil
				return sections
			}
		}
		at += end + 1
	}
	return sections
}
