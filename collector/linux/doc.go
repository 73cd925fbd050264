// Package linux polls Linux hosts: this one from /proc (Local), others over SSH
// without an agent (Remote). Both read the same sections and share the
// parsers; metric names and labels are node_exporter's.
//
// # The script
//
// Remote sends Script as one exec request and reads its standard output: one
// round trip on a kept connection. The login shell must be a POSIX shell. The
// output is a row of sections, each led by a line of Marker and the section's
// name, in the order of Sections, up to the section "end", which is empty:
//
//	@@nocturne stat
//	cpu  48513 0 15982 237912 953 0 240 662 0 0
//	...
//	@@nocturne meminfo
//	...
//	@@nocturne end
//
// A section counts only when a next marker came, so that a cut line is never
// taken for a value. What the sections hold:
//
//	stat meminfo loadavg diskstats   the files of that name in /proc
//	netdev                           /proc/net/dev
//	mounts                           /proc/self/mounts
//	statfs                           a line "frsize blocks bfree bavail mountpoint" for each local filesystem
//	uname                            six lines: sysname, nodename, release, version, machine, NIS domain name
//	osrelease                        /etc/os-release
//	identity                         lines "machine-id X" and "system-uuid X", X empty where it is not readable
//	units                            systemctl list-units --type=service --all --plain --no-legend --no-pager
//
// units stands last since only it can hang: a systemd that does not answer
// costs its own section and no other. A machine without systemd has no units:
// there the section ends in a line "systemctl is not installed", or is what
// systemctl says where something else was booted, and the result is whole. Network filesystems are not asked for
// their size, as a dead server would hang that. A section that is missing or
// does not parse is a partial result that names target and section.
package linux
