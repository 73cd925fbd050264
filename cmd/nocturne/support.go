package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"go.yaml.in/yaml/v3"

	"nocturne/internal/access"
	"nocturne/internal/cloudconn"
	"nocturne/internal/snmpconn"
	"nocturne/internal/sshconn"
	"nocturne/internal/support"
	"nocturne/tsdb/forward"
)

const aboutBundle = `What this is: facts about a running nocturne, for those who look for a fault in it.

In it are names and addresses of what is monitored, the configuration with <secret> in the place of each secret, the newest lines of
the log, the program's own metrics and stacks, and sizes. Samples, jobs with their output, people and the text of the ledger are not.

`

// kernelFiles tell of the process and of its machine. Neither its environment
// nor its arguments are among them.
var kernelFiles = []string{
	"/proc/self/status", "/proc/self/limits", "/proc/self/io", "/proc/self/cgroup", "/proc/self/mountinfo",
	"/proc/meminfo", "/proc/loadavg", "/proc/version", "/proc/pressure/cpu", "/proc/pressure/io", "/proc/pressure/memory",
}

// writeSupport writes the support bundle.
func (h *house) writeSupport(_ context.Context, w io.Writer) error {
	secrets, err := h.secrets()
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	b := support.New("nocturne-support", now, secrets)
	b.Add("README.txt", func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%sMade %s by nocturne %s, which runs since %s.\n", aboutBundle, now.Format(time.RFC3339), version, h.started.UTC().Format(time.RFC3339))
		return err
	})
	b.Add("build.txt", func(w io.Writer) error {
		info, ok := debug.ReadBuildInfo()
		if !ok {
			return errors.New("the binary tells nothing of its build")
		}
		_, err := io.WriteString(w, info.String())
		return err
	})
	b.Add("configuration.yaml", func(w io.Writer) error { return yaml.NewEncoder(w).Encode(*h.config()) })
	b.AddJSON("faults.json", map[string]any{"not_ready": h.web.NotReady(), "files_left_out": h.texts.faults})
	b.Add("log.txt", h.recent.copyTo)
	b.Add("metrics.txt", func(w io.Writer) error { metrics.WritePrometheus(w, true); return nil })
	b.Add("goroutines.txt", func(w io.Writer) error { return pprof.Lookup("goroutine").WriteTo(w, 2) })
	b.Add("heap.txt", func(w io.Writer) error { return pprof.Lookup("heap").WriteTo(w, 1) })
	h.addParts(b)
	b.Add("disk.txt", func(w io.Writer) error { return diskUse(w, h.cfg.Data) })
	for _, name := range kernelFiles {
		b.Add(strings.TrimPrefix(name, "/"), func(w io.Writer) error { return copyFile(w, name) })
	}
	return b.Write(w)
}

// addParts adds what each part says of itself.
func (h *house) addParts(b *support.Bundle) {
	st := h.history.Stats()
	b.AddJSON("history.json", map[string]any{"stats": st, "sync_error": fmt.Sprint(st.SyncErr), "read_only": fmt.Sprint(st.ReadOnly)})
	b.AddJSON("targets.json", h.collector.Status())
	b.AddJSON("rules.json", h.alerts.Rules())
	b.AddJSON("alerts.json", h.alerts.Alerts())
	b.AddJSON("receivers.json", h.forward.Status())
	phases := map[string]int{}
	for _, j := range h.jobs.Jobs(10_000) {
		phases[string(j.Phase)]++
	}
	b.AddJSON("jobs.json", map[string]any{"newest_by_phase": phases})
	b.Add("ledger.txt", func(w io.Writer) error {
		newest, err := h.ledger.Latest(1, "")
		for _, e := range newest {
			fmt.Fprintf(w, "the newest entry is %d of %s, kind %s, hash %s\n", e.Seq, e.At.Format(time.RFC3339), e.Kind, e.Hash)
		}
		return err
	})
}

// credentialKinds are the types that credentials are sealed from.
var credentialKinds = map[string]func() any{
	"snmp":      func() any { return new(snmpconn.Credential) },
	"ssh":       func() any { return new(sshconn.Credential) },
	"openstack": func() any { return new(cloudconn.Credential) },
	"http":      func() any { return new(forward.Credential) },
}

// secrets are all that this process knows: those of the configuration, and
// those that were sealed on a page.
func (h *house) secrets() ([]string, error) {
	out := support.Secrets(*h.config())
	all, err := h.access.Vault().List()
	if err != nil {
		return nil, fmt.Errorf("list credentials: %w", err)
	}
	for _, s := range all {
		empty, known := credentialKinds[s.Kind]
		if !known {
			return nil, fmt.Errorf("credential %s is of the unknown kind %s", s.Name, s.Kind)
		}
		c := empty()
		if _, err := h.access.Vault().Open(s.Name, c); err != nil && !errors.Is(err, access.ErrNotFound) {
			return nil, fmt.Errorf("look for what to strike out: %w", err)
		}
		out = append(out, support.Secrets(c)...)
	}
	return out, nil
}

func copyFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// diskUse lists what the data folder holds, by its folders down to the second,
// and how full its disk is.
func diskUse(w io.Writer, data string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(data, &st); err != nil {
		return fmt.Errorf("look at the disk of %s: %w", data, err)
	}
	fmt.Fprintf(w, "disk of %s: %s free of %s, %d inodes free of %d\n", data,
		byteSize(int64(st.Bavail)*st.Bsize), byteSize(int64(st.Blocks)*st.Bsize), st.Ffree, st.Files)
	type use struct {
		files int
		bytes int64
	}
	uses := map[string]*use{}
	err := filepath.WalkDir(data, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running server removes files
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(data, filepath.Dir(p))
		if err != nil {
			return err
		}
		parts := strings.Split(rel, string(filepath.Separator))
		dir := filepath.Join(parts[:min(2, len(parts))]...)
		if uses[dir] == nil {
			uses[dir] = &use{}
		}
		uses[dir].files, uses[dir].bytes = uses[dir].files+1, uses[dir].bytes+info.Size()
		return nil
	})
	var dirs []string
	for dir := range uses {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		fmt.Fprintf(w, "%12s in %5d files in %s\n", byteSize(uses[dir].bytes), uses[dir].files, dir)
	}
	return err
}
