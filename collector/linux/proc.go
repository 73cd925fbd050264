package linux

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var errEmpty = errors.New("it is empty")

const userHZ = 100 // of every Linux that people run (USER_HZ in proc(5))

var cpuModes = []string{"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"}

var statCounters = map[string]string{
	"btime":         "node_boot_time_seconds",
	"ctxt":          "node_context_switches_total",
	"intr":          "node_intr_total",
	"processes":     "node_forks_total",
	"procs_running": "node_procs_running",
	"procs_blocked": "node_procs_blocked",
}

// stat reads /proc/stat: CPU time by mode, boot time, counters.
func (r *reading) stat(text []byte) error {
	cpus := 0
	for n, line := range lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			return fmt.Errorf("line %d: %.40q is too short", n, line)
		}
		cpu, isCPU := strings.CutPrefix(f[0], "cpu")
		switch {
		case isCPU && cpu != "":
			v, err := numbers(f[1:min(len(f), 1+len(cpuModes))])
			if err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			for i, ticks := range v {
				r.add("node_cpu_seconds_total", ticks/userHZ, "cpu", cpu, "mode", cpuModes[i])
			}
			cpus++
		case statCounters[f[0]] != "":
			v, err := number(f[1])
			if err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			r.add(statCounters[f[0]], v)
		}
	}
	if cpus == 0 {
		return errors.New("it has no CPU")
	}
	r.field("cpus", strconv.Itoa(cpus))
	return nil
}

var memoryName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*(\([a-z_]+\))?$`)

// meminfo reads /proc/meminfo.
func (r *reading) meminfo(text []byte) error {
	any := false
	for n, line := range lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) == 0 || !memoryName.MatchString(name) {
			return fmt.Errorf("line %d: %.40q is not NAME: VALUE", n, line)
		}
		v, err := number(f[0])
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		metric := "node_memory_" + strings.TrimSuffix(strings.ReplaceAll(name, "(", "_"), ")")
		if len(f) == 2 && f[1] == "kB" {
			metric, v = metric+"_bytes", v*1024
		}
		r.add(metric, v)
		if name == "MemTotal" {
			r.field("memory", strconv.FormatFloat(v, 'f', -1, 64))
		}
		any = true
	}
	if !any {
		return errEmpty
	}
	return nil
}

// loadavg reads /proc/loadavg.
func (r *reading) loadavg(text []byte) error {
	f := strings.Fields(string(text))
	if len(f) < 3 {
		return fmt.Errorf("%.40q is not three averages", text)
	}
	v, err := numbers(f[:3])
	if err != nil {
		return err
	}
	for i, name := range []string{"node_load1", "node_load5", "node_load15"} {
		r.add(name, v[i])
	}
	return nil
}

// noDisk is node_exporter's default exclusion: partitions, loop and RAM disks.
var noDisk = regexp.MustCompile(`^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`)

// diskColumns are the columns after the device's name in /proc/diskstats, as
// the kernel's Documentation/admin-guide/iostats.rst counts them.
var diskColumns = []struct {
	name  string
	scale float64
}{
	{"node_disk_reads_completed_total", 1},
	{"node_disk_reads_merged_total", 1},
	{"node_disk_read_bytes_total", 512},
	{"node_disk_read_time_seconds_total", 1e-3},
	{"node_disk_writes_completed_total", 1},
	{"node_disk_writes_merged_total", 1},
	{"node_disk_written_bytes_total", 512},
	{"node_disk_write_time_seconds_total", 1e-3},
	{"node_disk_io_now", 1},
	{"node_disk_io_time_seconds_total", 1e-3},
	{"node_disk_io_time_weighted_seconds_total", 1e-3},
}

// diskstats reads /proc/diskstats. A host without disks of its own has none.
func (r *reading) diskstats(text []byte) error {
	for n, line := range lines(text) {
		f := strings.Fields(line)
		if len(f) < 3+len(diskColumns) {
			return fmt.Errorf("line %d: %.40q is too short", n, line)
		}
		if noDisk.MatchString(f[2]) {
			continue
		}
		v, err := numbers(f[3 : 3+len(diskColumns)])
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		for i, c := range diskColumns {
			r.add(c.name, v[i]*c.scale, "device", f[2])
		}
	}
	return nil
}

var netColumns = []string{
	"receive_bytes", "receive_packets", "receive_errs", "receive_drop", "receive_fifo", "receive_frame", "receive_compressed", "receive_multicast",
	"transmit_bytes", "transmit_packets", "transmit_errs", "transmit_drop", "transmit_fifo", "transmit_colls", "transmit_carrier", "transmit_compressed",
}

// netdev reads /proc/net/dev.
func (r *reading) netdev(text []byte) error {
	any := false
	for n, line := range lines(text) {
		if strings.Contains(line, "|") {
			continue // the two lines of headings
		}
		at := strings.LastIndexByte(line, ':') // an alias has a colon in its name
		if at < 0 {
			return fmt.Errorf("line %d: %.40q is not DEVICE: COUNTERS", n, line)
		}
		device, f := strings.TrimSpace(line[:at]), strings.Fields(line[at+1:])
		if device == "" || len(f) < len(netColumns) {
			return fmt.Errorf("line %d: %.40q is not a device and %d counters", n, line, len(netColumns))
		}
		v, err := numbers(f[:len(netColumns)])
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		for i, c := range netColumns {
			r.add("node_network_"+c+"_total", v[i], "device", device)
		}
		any = true
	}
	if !any {
		return errEmpty
	}
	return nil
}
