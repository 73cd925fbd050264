package lab

import (
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// machine is what a simulated host's kernel says of itself.
type machine struct {
	name    string
	id      string
	uuid    string
	cpus    int
	memory  uint64 // KiB
	disk    uint64 // KiB
	used    float64
	boot    time.Time
	busy    float64 // mean share of a CPU in use
	period  time.Duration
	phase   float64
	network float64 // bytes/s a card
}

func newMachine(r *rand.Rand, name string, now time.Time) machine {
	return machine{
		name: name, id: fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()),
		uuid: fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", r.Uint32(), r.Uint32N(1<<16), r.Uint32N(1<<12), r.Uint32N(1<<12), r.Uint64N(1<<48)),
		cpus: 8 << r.IntN(3), memory: (64 << r.IntN(3)) << 20, disk: 480 << 20, used: 0.2 + 0.5*r.Float64(),
		boot: now.Add(-time.Duration(1+r.IntN(90)) * 24 * time.Hour), busy: 0.1 + 0.5*r.Float64(),
		period: time.Duration(120+r.IntN(900)) * time.Second, phase: 2 * math.Pi * r.Float64(), network: 2e6 + 4e7*r.Float64(),
	}
}

// swing is the load now, as a factor around 1.
func (m *machine) swing(t time.Time) float64 {
	return 1 + 0.5*math.Sin(2*math.Pi*t.Sub(m.boot).Seconds()/m.period.Seconds()+m.phase)
}

// integral is the swing summed up since boot, in seconds; it never falls.
func (m *machine) integral(t time.Time) float64 {
	w := 2 * math.Pi / m.period.Seconds()
	s := t.Sub(m.boot).Seconds()
	return s + 0.5/w*(math.Cos(m.phase)-math.Cos(w*s+m.phase))
}

func (h *host) file(p string) (string, error) {
	m, now := &h.machine, time.Now()
	switch p {
	case "/proc/stat":
		return m.stat(now), nil
	case "/proc/meminfo":
		return m.meminfo(now), nil
	case "/proc/loadavg":
		l := m.busy * m.swing(now) * float64(m.cpus)
		return fmt.Sprintf("%.2f %.2f %.2f 2/900 4242\n", l, l*0.95, l*0.9), nil
	case "/proc/uptime":
		up := now.Sub(m.boot).Seconds()
		return fmt.Sprintf("%.2f %.2f\n", up, up*float64(m.cpus)*(1-m.busy)), nil
	case "/proc/net/dev":
		return m.netDev(now, h.nics), nil
	case "/proc/diskstats":
		b := uint64(m.integral(now) * 3000)
		return fmt.Sprintf(" 259       0 nvme0n1 %d 0 %d %d %d 0 %d %d 0 %d %d 0 0 0 0 0 0\n", b/40, b/2, b/90, b/20, b, b/70, b/60, b/50), nil
	case "/proc/mounts", "/proc/self/mounts", "/etc/mtab":
		return "/dev/nvme0n1p2 / ext4 rw,relatime 0 0\n/dev/nvme0n1p3 /var ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n", nil
	case "/proc/sys/kernel/hostname", "/etc/hostname":
		return m.name + "\n", nil
	case "/proc/sys/kernel/domainname":
		return "(none)\n", nil
	case "/proc/sys/kernel/osrelease":
		return kernel + "\n", nil
	case "/proc/version":
		return "Linux version " + kernel + " (lab)\n", nil
	case "/etc/machine-id":
		return m.id + "\n", nil
	case "/sys/class/dmi/id/product_uuid":
		return m.uuid + "\n", nil
	case "/etc/os-release", "/usr/lib/os-release":
		return "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n", nil
	case "/proc/cpuinfo":
		var b strings.Builder
		for i := range m.cpus {
			fmt.Fprintf(&b, "processor\t: %d\nmodel name\t: Lab CPU\n\n", i)
		}
		return b.String(), nil
	}
	if text, ok := h.scratch.read(p); ok {
		return text, nil
	}
	return "", &os.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}

const kernel = "6.1.0-lab-amd64"

// stat is /proc/stat in clock ticks of 10 ms.
func (m *machine) stat(now time.Time) string {
	up := now.Sub(m.boot).Seconds() * 100
	used := m.busy * m.integral(now) * 100
	line := func(n float64) string {
		return fmt.Sprintf("%d 0 %d %d %d 0 %d 0 0 0", uint64(used*0.7*n), uint64(used*0.25*n), uint64(max(0, up-used)*n), uint64(used*0.03*n), uint64(used*0.02*n))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cpu  %s\n", line(float64(m.cpus)))
	for i := range m.cpus {
		fmt.Fprintf(&b, "cpu%d %s\n", i, line(1))
	}
	fmt.Fprintf(&b, "intr 0\nctxt %d\nbtime %d\nprocesses %d\nprocs_running 2\nprocs_blocked 0\n", uint64(up*90), m.boot.Unix(), uint64(up/50))
	return b.String()
}

func (m *machine) meminfo(now time.Time) string {
	available := uint64(float64(m.memory) * (1 - m.used*(0.9+0.1*m.swing(now))))
	return fmt.Sprintf("MemTotal: %d kB\nMemFree: %d kB\nMemAvailable: %d kB\nBuffers: %d kB\nCached: %d kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
		m.memory, available/2, available, m.memory/100, available/3)
}

func (m *machine) netDev(now time.Time, nics []string) string {
	var b strings.Builder
	b.WriteString("Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")
	b.WriteString("    lo: 1000 10 0 0 0 0 0 0 1000 10 0 0 0 0 0 0\n")
	for i, nic := range nics {
		n := uint64(m.integral(now) * m.network / float64(i+1))
		fmt.Fprintf(&b, "%6s: %d %d 0 0 0 0 0 0 %d %d 0 0 0 0 0 0\n", nic, n, n/800, n/2, n/1600)
	}
	return b.String()
}

func (m *machine) uname(args []string) string {
	parts := map[string]string{"-s": "Linux", "-n": m.name, "-r": kernel, "-v": "#1 SMP lab", "-m": "x86_64", "-o": "GNU/Linux"}
	if len(args) == 0 {
		return "Linux"
	}
	var out []string
	for _, a := range args {
		if a == "-a" {
			return strings.Join([]string{"Linux", m.name, kernel, "#1 SMP lab", "x86_64", "GNU/Linux"}, " ")
		}
		for _, f := range strings.TrimPrefix(a, "-") {
			out = append(out, parts["-"+string(f)])
		}
	}
	return strings.Join(out, " ")
}

// statFS answers `stat -f -c FORMAT MOUNT...` for block size (%S), blocks
// (%b, %f, %a) and name (%n).
func (m *machine) statFS(args []string) (string, int) {
	if len(args) < 3 || args[0] != "-f" || args[1] != "-c" {
		return "", 1
	}
	var b strings.Builder
	exit := 0
	for _, mount := range args[3:] {
		i := slices.Index(mounts, mount)
		if i < 0 {
			exit = 1
			continue
		}
		blocks := m.disk / 4 / uint64(i+1)
		free := uint64(float64(blocks) * (1 - m.used))
		b.WriteString(strings.NewReplacer("%S", "4096", "%b", fmt.Sprint(blocks), "%f", fmt.Sprint(free), "%a", fmt.Sprint(free), "%n", mount).Replace(args[2]) + "\n")
	}
	return b.String(), exit
}

var mounts = []string{"/", "/var"}

// df answers `df -P` and `df -P -T`, in KiB blocks, or bytes with -B1.
func (m *machine) df(args []string) string {
	unit, withType := uint64(1), false
	for _, a := range args {
		if a == "-B1" || a == "--block-size=1" {
			unit = 1024
		}
		withType = withType || a == "-T" || a == "-PT" || a == "-kPT" || a == "-PkT"
	}
	var b strings.Builder
	b.WriteString("Filesystem 1024-blocks Used Available Capacity Mounted on\n")
	for i, mount := range mounts {
		size := m.disk / uint64(i+1)
		used := uint64(float64(size) * m.used)
		kind := ""
		if withType {
			kind = "ext4 "
		}
		fmt.Fprintf(&b, "/dev/nvme0n1p%d %s%d %d %d %d%% %s\n", i+2, kind, size*unit, used*unit, (size-used)*unit, used*100/size, mount)
	}
	return b.String()
}
