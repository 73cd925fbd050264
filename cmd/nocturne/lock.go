package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"nocturne/internal/upgrade"
)

// lockName is the file in the data folder that says who works on it. The lock
// on the open file decides; what the file holds is for people.
const lockName = "lock"

// holder is who has a data folder, for whoever comes second.
type holder struct {
	Command string    `json:"command"` // nocturne serve
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
}

func (h holder) String() string {
	if h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("%s, pid %d on %s, version %s, since %s", h.Command, h.PID, h.Host, h.Version, h.Since.Format(time.RFC3339))
}

// inUseError refuses a data folder that another process has.
type inUseError struct {
	dir string
	by  holder
}

func (e *inUseError) Error() string {
	return fmt.Sprintf("the data folder %s is in use by %s", e.dir, e.by)
}

// dataLock holds a data folder for one process, until it is closed or the
// process ends in whatever way.
type dataLock struct{ file *os.File }

// lockData takes the data folder, made when absent, for command, unless it is
// of a newer version. It waits for nobody. The file stays behind: to remove it
// would let two in.
func lockData(dir, command string) (*dataLock, error) {
	l, err := lockAny(dir, command)
	if err != nil {
		return nil, err
	}
	if err := upgrade.Check(dir); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func lockAny(dir, command string) (*dataLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	// Go opens files so that no child process inherits them, and with them the lock.
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(&inUseError{dir, readHolder(file)}, file.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock the data folder: lock %s: %w", file.Name(), err), file.Close())
	}
	l := &dataLock{file}
	if err := l.sign(command); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the data folder: %w", err), l.Close())
	}
	return l, nil
}

// readHolder reads what the holder wrote. One that has just come may not have
// written yet.
func readHolder(file io.ReaderAt) (h holder) {
	for range 20 {
		b, err := io.ReadAll(io.NewSectionReader(file, 0, 4096))
		if err == nil && json.Unmarshal(b, &h) == nil {
			return h
		}
		time.Sleep(10 * time.Millisecond)
	}
	return holder{}
}

// sign says who has the folder. On a full disk nothing may fit: the lock holds
// all the same, and a second process is refused without a name.
func (l *dataLock) sign(command string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	b, err := json.Marshal(holder{command, os.Getpid(), host, version, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(append(b, '\n'), 0); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	return nil
}

// Close gives the folder back.
func (l *dataLock) Close() error {
	if err := errors.Join(l.file.Truncate(0), l.file.Close()); err != nil {
		return fmt.Errorf("unlock the data folder: %w", err)
	}
	return nil
}
