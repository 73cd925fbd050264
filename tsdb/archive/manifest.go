package archive

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nocturne/tsdb/folder"
)

const (
	manifestName    = "manifest.json"
	manifestSumName = "manifest.json.sha256" // as sha256sum writes and checks it
	manifestVersion = 1
	sharedName      = "blocks"
	generationForm  = "20060102T150405.000Z"
)

// manifest says what a generation is made of.
type manifest struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"` // before the first file was read
	Files   []file    `json:"files"`
}

type file struct {
	Name     string    `json:"name"`   // in the history folder, slash-separated
	Stored   string    `json:"stored"` // in the backup folder
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256"`
	Modified time.Time `json:"modified"` // of the file in the history
}

// write puts the manifest into the generation's folder; with it the generation
// counts.
func (m *manifest) write(dir string) error {
	raw, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(dir, manifestSumName), []byte(sumLine(raw))); err != nil {
		return err
	}
	path := filepath.Join(dir, manifestName)
	if err := writeSynced(path+".tmp", raw); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return folder.Sync(dir)
}

// sumLine is what manifestSumName holds, as sha256sum(1) writes it.
func sumLine(manifest []byte) string {
	return fmt.Sprintf("%x  %s\n", sha256.Sum256(manifest), manifestName)
}

// readManifest returns fs.ErrNotExist where there is none.
func readManifest(dir string) (*manifest, error) {
	path := filepath.Join(dir, manifestName)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	line, err := os.ReadFile(filepath.Join(dir, manifestSumName))
	if err != nil {
		return nil, fmt.Errorf("%s: its checksum: %v", path, err)
	}
	if string(line) != sumLine(raw) {
		return nil, fmt.Errorf("%s: checksum differs from %s: one of the two is damaged", path, manifestSumName)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Version != manifestVersion {
		return nil, fmt.Errorf("%s: version %d is not known here, only %d", path, m.Version, manifestVersion)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(f.Name) || !filepath.IsLocal(f.Stored) {
			return nil, fmt.Errorf("%s: %q stored as %q leads out of the folder", path, f.Name, f.Stored)
		}
	}
	return &m, nil
}

// Generation is one backup of a history.
type Generation struct {
	Name   string    `json:"name"`
	Time   time.Time `json:"time"`
	Blocks int       `json:"blocks"`
	Files  int       `json:"files"`
	Bytes  int64     `json:"bytes"` // of all its files, shared ones included
	// Fault says why it cannot be restored; empty for a good one.
	Fault string `json:"fault,omitempty"`

	manifest *manifest
}

// List returns the generations in a backup folder, oldest first, those cut
// short or damaged included. It reads manifests alone, not the files.
func List(dir string) ([]Generation, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	var all []Generation
	for _, e := range entries {
		at, err := time.Parse(generationForm, e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		g := Generation{Name: e.Name(), Time: at}
		m, err := readManifest(filepath.Join(dir, e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			g.Fault = "cut short: there is no " + manifestName
		case err != nil:
			g.Fault = err.Error()
		default:
			g.fill(m)
		}
		all = append(all, g)
	}
	return all, nil
}

func (g *Generation) fill(m *manifest) {
	g.manifest, g.Files = m, len(m.Files)
	blocks := map[string]bool{}
	for _, f := range m.Files {
		g.Bytes += f.Size
		if dir := blockOf(f.Name); dir != "" {
			blocks[dir] = true
		}
	}
	g.Blocks = len(blocks)
}

// blockOf returns the block's folder that a file of the history lies in, with
// its tier, or nothing.
func blockOf(name string) string {
	parts := strings.Split(name, "/")
	i := slices.IndexFunc(parts, folder.IsBlock)
	if i < 0 {
		return ""
	}
	return strings.Join(parts[:i+1], "/")
}

// sharedFile says whether a file never changes once its block is there. What
// else lies in a block (meta.json, tombstones) may be written anew.
func sharedFile(name string) bool {
	rest, ok := strings.CutPrefix(name, blockOf(name)+"/")
	return ok && blockOf(name) != "" && (rest == "index" || strings.HasPrefix(rest, "chunks/"))
}
