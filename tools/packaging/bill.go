package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// bill is what the binary is made of.
type bill struct {
	version string
	made    time.Time
	sum     [sha256.Size]byte // of the binary
	parts   []part
}

// part is a module of Go, the standard library, or what the pages borrow.
type part struct {
	name, version, purl string
	sum                 string // as go.sum has it; "" for what is no module
	licences            []string
	texts               []text // of licences and notices
}

type text struct{ name, body string }

// bill reads from the binary itself which modules are in it, and from their
// source what they may be used for.
func (r *release) bill(ctx context.Context, binary string) (*bill, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("read what is in the binary: %w", err)
	}
	raw, err := os.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("read the binary: %w", err)
	}
	b := &bill{version: r.version, made: r.made, sum: sha256.Sum256(raw)}
	if err := b.addGo(ctx, info.GoVersion); err != nil {
		return nil, err
	}
	var modules []part
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		modules = append(modules, part{name: d.Path, version: d.Version, sum: d.Sum, purl: "pkg:golang/" + d.Path + "@" + url.PathEscape(d.Version)})
	}
	dirs, err := sources(ctx, r.root, modules)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		if err := m.license(dirs[m.name]); err != nil {
			return nil, err
		}
		b.parts = append(b.parts, m)
	}
	return b, b.addBorrowed(filepath.Join(r.root, "views", "static", "vendor"))
}

// addGo adds the standard library.
func (b *bill) addGo(ctx context.Context, version string) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("look for Go's own licence: %w", err)
	}
	number := strings.TrimPrefix(version, "go")
	std := part{name: "std", version: version, purl: "pkg:golang/std@" + number}
	if err := std.license(strings.TrimSpace(string(out))); err != nil {
		return err
	}
	b.parts = append(b.parts, std)
	return nil
}

// sources are the folders of modules, which the build has fetched.
func sources(ctx context.Context, root string, modules []part) (map[string]string, error) {
	args := []string{"list", "-m", "-f", "{{.Path}}\t{{.Version}}\t{{.Dir}}"}
	want := map[string]string{}
	for _, m := range modules {
		args, want[m.name] = append(args, m.name), m.version
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the modules' source: %w", err)
	}
	dirs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 || want[f[0]] != f[1] {
			return nil, fmt.Errorf("the source of %s is not here in the version of the binary, %s", f[0], want[f[0]])
		}
		dirs[f[0]] = f[2]
	}
	return dirs, nil
}

// addBorrowed adds what the pages borrow, of which vendor.json tells.
func (b *bill) addBorrowed(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "vendor.json"))
	if err != nil {
		return fmt.Errorf("read what the pages borrow: %w", err)
	}
	var list []struct{ Name, Version, Licence, LicenceFile string }
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("vendor.json: %w", err)
	}
	seen := map[string]bool{}
	for _, f := range list {
		if seen[f.Name] {
			continue
		}
		seen[f.Name] = true
		body, err := os.ReadFile(filepath.Join(dir, f.LicenceFile))
		if err != nil {
			return fmt.Errorf("licence of %s: %w", f.Name, err)
		}
		p := part{name: f.Name, version: f.Version, licences: []string{f.Licence}, texts: []text{{f.LicenceFile, string(body)}},
			purl: "pkg:npm/" + strings.Replace(f.Name, "@", "%40", 1) + "@" + f.Version}
		if err := p.allowed(); err != nil {
			return err
		}
		b.parts = append(b.parts, p)
	}
	return nil
}

type object = map[string]any

// writeJSON writes CycloneDX 1.5.
func (b *bill) writeJSON(path string) error {
	components := []object{}
	for _, p := range b.parts {
		c := object{"type": "library", "bom-ref": p.purl, "name": p.name, "version": p.version, "purl": p.purl,
			"licenses": []object{{"expression": strings.Join(p.licences, " AND ")}}}
		if p.sum != "" {
			c["properties"] = []object{{"name": "go:sum", "value": p.sum}}
		}
		components = append(components, c)
	}
	purl := "pkg:generic/nocturne@" + url.PathEscape(b.version)
	doc := object{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "serialNumber": b.serial(),
		"metadata": object{
			"timestamp": b.made.Format(time.RFC3339),
			"component": object{"type": "application", "bom-ref": purl, "name": "nocturne", "version": b.version, "purl": purl,
				"hashes":   []object{{"alg": "SHA-256", "content": hex.EncodeToString(b.sum[:])}},
				"licenses": []object{{"expression": "Apache-2.0"}}},
		},
		"components": components,
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("write the bill of materials: %w", err)
	}
	if err := os.WriteFile(path, append(out, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the bill of materials: %w", err)
	}
	return nil
}

// serial is a UUID (version 8 of RFC 9562) made of the binary's sum: the same
// binary has the same bill.
func (b *bill) serial() string {
	u := b.sum
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// writeLicences writes the text that each part wants to go with it.
func (b *bill) writeLicences(path string) error {
	var s strings.Builder
	s.WriteString("nocturne is licensed under Apache-2.0. In its binary are also the parts below, each under the licence that follows it.\n")
	for _, p := range b.parts {
		fmt.Fprintf(&s, "\n%s\n%s %s: %s\n", strings.Repeat("=", 80), p.name, p.version, strings.Join(p.licences, " AND "))
		for _, t := range p.texts {
			fmt.Fprintf(&s, "\n--- %s\n\n%s\n", t.name, strings.TrimSpace(t.body))
		}
	}
	if err := os.WriteFile(path, []byte(s.String()), 0o644); err != nil {
		return fmt.Errorf("write the licences: %w", err)
	}
	return nil
}
