package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"nocturne/tsdb/folder"
)

// Current is the format that this program reads and writes.
//
//	1  before formats were numbered: sealed records do not name their key
//	2  they do
const Current = 2

const unnumbered = 1

const (
	markName  = "format"
	stateName = "state"
)

// Mark is what DATA/format says.
type Mark struct {
	Format   int       `json:"format"`
	Program  string    `json:"program"`
	Since    time.Time `json:"since"`
	Pending  int       `json:"pending,omitempty"`
	Previous *Previous `json:"previous,omitempty"`
	Undo     string    `json:"undo,omitempty"` // the folder that the upgraded state goes to
}

// Previous is what an upgrade left behind.
type Previous struct {
	Format  int       `json:"format"`
	Program string    `json:"program"` // "" where it was not noted
	Kept    string    `json:"kept"`    // the file in the data folder that holds its state
	At      time.Time `json:"at"`      // when that was exported
}

func (p *Previous) program() string {
	if p.Program == "" {
		return "nocturne of format " + fmt.Sprint(p.Format)
	}
	return "nocturne " + p.Program
}

// Read returns what stands in a data folder. ok is false for one that holds
// nothing yet.
func Read(dir string) (m Mark, ok bool, err error) {
	path := filepath.Join(dir, markName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(filepath.Join(dir, stateName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return m, false, fmt.Errorf("look into the data folder: %w", err)
		}
		return Mark{Format: unnumbered}, len(entries) > 0, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("read the folder's format: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil || m.Format < 1 {
		return m, false, fmt.Errorf("%s is damaged: %q is not what nocturne writes (%v). Put back that file from a backup of the folder, or restore a backup of nocturne's", path, cut(raw), err)
	}
	return m, true, nil
}

func cut(b []byte) []byte { return b[:min(len(b), 80)] }

// Newest is the format that a program has to know to read the folder.
func (m Mark) Newest() int { return max(m.Format, m.Pending) }

// Check refuses a folder of a newer version, and one whose upgrade is being
// taken back.
func Check(dir string) error {
	m, ok, err := Read(dir)
	switch {
	case err != nil || !ok:
		return err
	case m.Newest() > Current:
		return &NewerError{dir, m}
	case m.Undo != "":
		return fmt.Errorf("taking back the upgrade of %s has not come to its end: run nocturne downgrade --data %s again", dir, dir)
	}
	return nil
}

// CheckCurrent also refuses a folder that is still to be upgraded.
func CheckCurrent(dir string) error {
	if err := Check(dir); err != nil {
		return err
	}
	if m, ok, err := Read(dir); err != nil || ok && (m.Format < Current || m.Pending != 0) {
		return errors.Join(err, fmt.Errorf("the data folder %s is of format %d, this is %d: start nocturne serve once, which upgrades it", dir, m.Format, Current))
	}
	return nil
}

// NewerError refuses a data folder that a newer version wrote.
type NewerError struct {
	Dir  string
	Mark Mark
}

func (e *NewerError) Error() string {
	m := e.Mark
	text := fmt.Sprintf("the data folder %s is of format %d, written by nocturne %s since %s; this version knows formats up to %d. Install nocturne %s or newer",
		e.Dir, m.Newest(), m.Program, m.Since.Format(time.RFC3339), Current, m.Program)
	if p := m.Previous; p != nil && p.Format <= Current {
		text += fmt.Sprintf("; or run nocturne downgrade --data %s of that version, which puts state back as it was at %s", e.Dir, p.At.Format(time.RFC3339))
	}
	return text + "; or restore a backup from before into another folder"
}

// Put notes the format of a folder that was filled by other means, such as a
// restore.
func Put(dir string, format int, program string) error {
	return write(dir, Mark{Format: format, Program: program, Since: now()})
}

// write makes m durable, whole or not at all.
func write(dir string, m Mark) error {
	raw, err := json.Marshal(m)
	if err == nil {
		err = writeFile(filepath.Join(dir, markName+".tmp"), append(raw, '\n'))
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, markName+".tmp"), filepath.Join(dir, markName))
	}
	if err == nil {
		err = folder.Sync(dir)
	}
	if err != nil {
		return fmt.Errorf("note the folder's format: %w", err)
	}
	return nil
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
