package installed

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const probeArgument = "probe-the-sandbox"

// tries are what the probe does in the sandbox: first what the program needs,
// then what nothing of it needs.
var tries = []struct {
	name  string
	works bool
	try   func() error
}{
	{"listen on UDP port 162", true, func() error { return listenUDP("127.0.0.1:162") }},
	{"listen on TCP port 443", true, func() error { return listenTCP("127.0.0.1:443") }},
	{"send and hear ICMP", true, ping},
	{"list the machine's addresses", true, func() error { _, err := net.InterfaceAddrs(); return err }},
	{"write into the data folder", true, func() error { return os.WriteFile("/var/lib/nocturne/probe", nil, 0o600) }},
	{"write into /tmp", true, func() error { return os.WriteFile("/tmp/probe", nil, 0o600) }},
	{"read the configuration", true, func() error { _, err := os.ReadFile("/etc/nocturne/nocturne.yaml"); return err }},
	{"read the machine's counters", true, func() error { _, err := os.ReadFile("/proc/stat"); return err }},
	{"read the machine's interfaces", true, func() error { _, err := os.ReadFile("/proc/net/dev"); return err }},

	{"write into /usr", false, func() error { return os.WriteFile("/usr/bin/probe", nil, 0o600) }},
	{"write into /etc", false, func() error { return os.WriteFile("/etc/nocturne/probe", nil, 0o600) }},
	{"write over the configuration", false, func() error { return os.WriteFile("/etc/nocturne/nocturne.yaml", nil, 0o600) }},
	{"write into /", false, func() error { return os.WriteFile("/probe", nil, 0o600) }},
	{"read the shadow file", false, func() error { _, err := os.ReadFile("/etc/shadow"); return err }},
	{"become root", false, func() error { return unix.Setuid(0) }},
	{"mount", false, func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") }},
	{"make a user namespace", false, func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
	{"make a packet socket", false, func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW) }},
	{"make a Bluetooth socket", false, func() error { return socket(unix.AF_BLUETOOTH, unix.SOCK_RAW) }},
	{"write memory and execute it", false, func() error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	}},
	{"trace another process", false, func() error { return unix.PtraceAttach(1) }},
	{"change the clock", false, func() error { return unix.Settimeofday(&unix.Timeval{Sec: 1}) }},
	{"name the machine", false, func() error { return unix.Sethostname([]byte("x")) }},
	{"change the root folder", false, func() error { return unix.Chroot("/tmp") }},
	{"take precedence", false, func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) }},
	{"load a module", false, func() error { return unix.InitModule([]byte{0}, "") }},
	{"make a device", false, func() error { return unix.Mknod("/tmp/probe-device", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))) }},
}

// probed is what the probe found.
type probed struct {
	Status map[string]string // of /proc/self/status
	Failed map[string]string // what did not work, and why
}

func probe(out io.Writer) int {
	p := probed{map[string]string{}, map[string]string{}}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		p.Status[key] = strings.TrimSpace(value)
	}
	for _, t := range tries {
		if err := t.try(); err != nil {
			p.Failed[t.name] = err.Error()
		}
	}
	if err := json.NewEncoder(out).Encode(p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func listenUDP(address string) error {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

func listenTCP(address string) error {
	c, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

func socket(family, kind int) error {
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// ping sends an echo request of RFC 792 to this machine, and waits for its
// reply.
func ping() (err error) {
	c, err := net.ListenPacket("ip4:icmp", "127.0.0.1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	echo := []byte{8, 0, 0, 0, 0x4e, 0x6f, 0, 1, 'n', 'o', 'c', 't'}
	binary.BigEndian.PutUint16(echo[2:], checksum(echo))
	if _, err := c.WriteTo(echo, &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return fmt.Errorf("no reply: %w", err)
		}
		if n == len(echo) && b[0] == 0 && string(b[4:n]) == string(echo[4:]) {
			return nil
		}
	}
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
