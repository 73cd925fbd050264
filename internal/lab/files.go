package lab

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// scratch is what commands leave on a host: the folders and files they make,
// and which of them still run.
type scratch struct {
	mu    sync.Mutex
	files map[string]string // mu guards all; a folder has an entry that ends in /
	runs  map[int]bool      // by process number
	next  int
}

func newScratch() *scratch {
	return &scratch{files: map[string]string{"/home/ops/": "", "/tmp/": "", "/var/tmp/": ""}, runs: map[int]bool{}, next: 4243}
}

// begin gives a command its process number until it ends.
func (s *scratch) begin() (pid int, end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid = s.next
	s.next++
	s.runs[pid] = true
	return pid, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.runs, pid)
	}
}

func (s *scratch) has(name string) bool {
	_, ok := s.read(name)
	return ok
}

func (s *scratch) read(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.files[name]
	return text, ok
}

// put writes a file, or makes a folder, where its parent stands.
func (s *scratch) put(name, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.files[path.Dir(path.Clean(name))+"/"]; !ok {
		return fs.ErrNotExist
	}
	s.files[name] = text
	return nil
}

// mkdir either makes each folder or says that it is there, as mkdir(1).
func (s *scratch) mkdir(args []string, stderr io.Writer) int {
	for _, name := range args {
		err := error(fs.ErrExist)
		if !s.has(name + "/") {
			err = s.put(name+"/", "")
		}
		if err != nil {
			fmt.Fprintf(stderr, "mkdir: cannot create directory '%s': %v\n", name, err)
			return 1
		}
	}
	return 0
}

// rm is rm -rf.
func (s *scratch) rm(args []string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range args {
		for f := range s.files {
			if f == name || strings.HasPrefix(f, name+"/") {
				delete(s.files, f)
			}
		}
	}
	return 0
}

// kill tells whether a process, or the group that it leads, is there; it sends
// nothing.
func (s *scratch) kill(args []string, stderr io.Writer) int {
	pid, err := strconv.Atoi(strings.TrimPrefix(args[len(args)-1], "-"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || !s.runs[pid] {
		fmt.Fprintln(stderr, "kill: No such process")
		return 1
	}
	return 0
}

// file is one that is being written: it is there at once, as its text comes.
type file struct {
	s    *scratch
	name string
}

func (s *scratch) create(name string, flag int) (io.ReadWriteCloser, error) {
	had, _ := s.read(name)
	if flag&os.O_APPEND == 0 {
		had = ""
	}
	if err := s.put(name, had); err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{s, name}, nil
}

func (f *file) Read([]byte) (int, error) { return 0, fs.ErrPermission }
func (f *file) Close() error             { return nil }

func (f *file) Write(b []byte) (int, error) {
	had, _ := f.s.read(f.name)
	return len(b), f.s.put(f.name, had+string(b))
}

// outward makes programs of what the interpreter takes for its own and cannot
// do.
func outward(args []string) []string {
	if slices.Contains([]string{"kill", "umask"}, args[0]) {
		args[0] = "/usr/bin/" + args[0]
	}
	return args
}
