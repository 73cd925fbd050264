package installed

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const cageVariable = "NOCTURNE_TEST_CAGE"

// cage is what systemd would take from the process by prctl and seccomp. It
// filters by the same calls, families and flags, with the same answers.
type cage struct {
	Calls          []uint32 // that pass
	Families       []uint32 // of sockets that may be made
	NoWriteExecute bool
	NoNamespaces   bool
}

var families = map[string]uint32{"AF_UNIX": unix.AF_UNIX, "AF_INET": unix.AF_INET, "AF_INET6": unix.AF_INET6, "AF_NETLINK": unix.AF_NETLINK}

// enterCage makes this process a caged one of a program; it returns only with
// an error.
func enterCage(spec string, args []string) error {
	var c cage
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	if len(args) == 0 {
		return errors.New("no program is named")
	}
	if err := os.Unsetenv(cageVariable); err != nil {
		return err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the filter is the thread's, and goes with it through exec
	if c.NoWriteExecute {
		if err := unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); err != nil {
			return fmt.Errorf("deny memory that is both written and executed: %w", err)
		}
	}
	filter := c.filter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); e != 0 {
		return fmt.Errorf("filter system calls: %w", e)
	}
	return syscall.Exec(path, args, os.Environ())
}

// Where struct seccomp_data has what is filtered by.
const (
	atCall         = 0
	atArchitecture = 4
	atFirst        = 16 // low half of the first argument
)

// namespaces are all CLONE_NEW flags but CLONE_NEWTIME, which no clone takes.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

func (c cage) filter() []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	fails := func(e syscall.Errno) unix.SockFilter { return answer(unix.SECCOMP_RET_ERRNO | uint32(e)) }
	pass := answer(unix.SECCOMP_RET_ALLOW)
	// unless jumps over so many instructions when the value is not k.
	unless := func(k uint32, over int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(over), K: k}
	}
	f := []unix.SockFilter{load(atArchitecture), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.AUDIT_ARCH_X86_64}, answer(unix.SECCOMP_RET_KILL_PROCESS), load(atCall)}
	family := []unix.SockFilter{load(atFirst)}
	for _, n := range c.Families {
		family = append(family, unless(n, 1), pass)
	}
	family = append(family, fails(unix.EAFNOSUPPORT))
	f = append(append(f, unless(unix.SYS_SOCKET, len(family))), family...)
	if c.NoNamespaces {
		f = append(f, unless(unix.SYS_CLONE3, 1), fails(unix.ENOSYS), // its flags cannot be seen: libraries then use clone
			unless(unix.SYS_UNSHARE, 1), fails(unix.EPERM), unless(unix.SYS_SETNS, 1), fails(unix.EPERM),
			unless(unix.SYS_CLONE, 4), load(atFirst), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: namespaces}, fails(unix.EPERM), pass)
	}
	for _, n := range c.Calls {
		f = append(f, unless(n, 1), pass)
	}
	return append(f, fails(unix.EPERM))
}
