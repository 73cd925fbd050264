package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// stageText writes what the binary says of itself: the manual page, and the
// shells' completions.
func stageText(ctx context.Context, binary, stage string) error {
	for name, args := range map[string][]string{
		"nocturne.1": {"man"}, "nocturne.bash": {"completion", "bash"}, "_nocturne": {"completion", "zsh"}, "nocturne.fish": {"completion", "fish"},
	} {
		out, err := exec.CommandContext(ctx, binary, args...).Output()
		if err != nil {
			return fmt.Errorf("run nocturne %s: %w", strings.Join(args, " "), err)
		}
		if name == "nocturne.1" {
			if out, err = zipped(out); err != nil {
				return fmt.Errorf("compress the manual page: %w", err)
			}
			name += ".gz"
		}
		if err := os.WriteFile(filepath.Join(stage, name), out, 0o644); err != nil {
			return fmt.Errorf("stage %s: %w", name, err)
		}
	}
	return nil
}

// zipped compresses without a name or time in the header.
func zipped(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	return out.Bytes(), z.Close()
}

// pack makes both packages of nfpm.yaml and returns their names.
func (r *release) pack(stage string) ([]string, error) {
	text, err := os.ReadFile(r.ours("nfpm.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the description of the packages: %w", err)
	}
	var names []string
	for _, format := range []string{"deb", "rpm"} {
		// Packing changes what was parsed.
		config, err := nfpm.ParseWithEnvMapping(bytes.NewReader(text), func(name string) string {
			return map[string]string{"VERSION": r.version, "OUT": r.out, "STAGE": stage, "ROOT": r.root, "HERE": r.ours(""), "CONFIG": r.config}[name]
		})
		if err != nil {
			return nil, fmt.Errorf("nfpm.yaml: %w", err)
		}
		for _, script := range []*string{&config.Scripts.PreInstall, &config.Scripts.PostInstall, &config.Scripts.PreRemove, &config.Scripts.PostRemove} {
			*script = r.ours(*script)
		}
		name, err := r.packOne(config, format)
		if err != nil {
			return nil, fmt.Errorf("make the %s package: %w", format, err)
		}
		names = append(names, name)
	}
	return names, nil
}

func (r *release) packOne(config nfpm.Config, format string) (_ string, err error) {
	info, err := config.Get(format)
	if err != nil {
		return "", err
	}
	info = nfpm.WithDefaults(info)
	info.MTime = r.made
	p, err := nfpm.Get(format)
	if err != nil {
		return "", err
	}
	name := p.ConventionalFileName(info)
	f, err := os.Create(filepath.Join(r.out, name))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return name, p.Package(info, f)
}

// container makes the folder that the image is built from.
func (r *release) container(binary string) error {
	dir := filepath.Join(r.out, "container")
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("empty the container's folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return fmt.Errorf("make the container's folder: %w", err)
	}
	return errors.Join(
		copyFile(r.ours("Containerfile"), filepath.Join(dir, "Containerfile"), 0o644),
		copyFile(r.ours("container.yaml"), filepath.Join(dir, "nocturne.yaml"), 0o644),
		copyFile(filepath.Join(r.out, "LICENSES.txt"), filepath.Join(dir, "LICENSES.txt"), 0o644),
		copyFile(binary, filepath.Join(dir, "nocturne"), 0o755),
	)
}

// copyFile writes beside the file and renames, so that one that runs may be
// replaced.
func copyFile(from, to string, mode os.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := os.WriteFile(to+".new", b, mode); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return errors.Join(os.Chmod(to+".new", mode), os.Rename(to+".new", to)) // whatever the umask is
}

// writeSums writes what `sha256sum -c` reads.
func writeSums(dir string, names []string) error {
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("sum up: %w", err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("sum up %s: %w", name, err)
		}
		fmt.Fprintf(&b, "%x  %s\n", h.Sum(nil), name)
	}
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write the sums: %w", err)
	}
	return nil
}
