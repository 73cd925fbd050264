package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"nocturne/internal/backup"
	"nocturne/internal/secret"
)

// backedUp returns the configuration and the files that it names, without
// secrets: a key file is left out, and what stands in the configuration in
// clear is struck out.
func (c *Config) backedUp() ([]backup.Text, error) {
	if c.file == "" {
		return nil, nil // it runs on the defaults
	}
	var out []backup.Text
	add := func(name string, data []byte) error {
		abs, err := filepath.Abs(name)
		if err != nil {
			return err
		}
		out = append(out, backup.Text{Name: strings.TrimPrefix(filepath.ToSlash(abs), "/"), Data: data})
		return nil
	}
	// What was read, not what stands there now: a secret that came into the file
	// since is not known.
	clean, err := struckOut(c.raw, secretsIn(reflect.ValueOf(*c)))
	if err != nil {
		return nil, fmt.Errorf("strike secrets out of %s: %w", c.file, err)
	}
	if err := add(c.file, clean); err != nil {
		return nil, err
	}
	for field, patterns := range map[string][]string{
		"alerting.rules": c.Alerting.Rules, "automation.runbooks": c.Automation.Runbooks, "automation.remedies": c.Automation.Remedies,
		"inspections": c.Inspections, "inventory": c.Inventory, "ssh.known_hosts": only(c.SSH.KnownHosts),
	} {
		files, err := readFiles(field, patterns)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if err := add(f.name, f.data); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func only(path string) []string {
	if path == "" {
		return nil
	}
	return []string{path}
}

// secretsIn gathers every secret that a value holds.
func secretsIn(v reflect.Value) map[string]bool {
	found := map[string]bool{}
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		if !v.IsValid() {
			return
		}
		if v.Type() == reflect.TypeFor[secret.Text]() {
			if s := v.String(); s != "" {
				found[s] = true
			}
			return
		}
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			walk(v.Elem())
		case reflect.Struct:
			for _, f := range v.Fields() {
				walk(f)
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for it := v.MapRange(); it.Next(); {
				walk(it.Value())
			}
		}
	}
	walk(v)
	return found
}

// struckOut writes a YAML file anew with a placeholder for each value that is a
// secret, in any style that YAML may have it in, and for what comments quote.
func struckOut(raw []byte, secrets map[string]bool) ([]byte, error) {
	var out bytes.Buffer
	d, e := yaml.NewDecoder(bytes.NewReader(raw)), yaml.NewEncoder(&out)
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		strike(&n, secrets)
		if err := e.Encode(&n); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), e.Close()
}

func strike(n *yaml.Node, secrets map[string]bool) {
	if n.Kind == yaml.ScalarNode && (secrets[n.Value] || secrets[strings.TrimSpace(n.Value)]) {
		n.Value, n.Style = secret.Placeholder, 0
	}
	for _, c := range []*string{&n.HeadComment, &n.LineComment, &n.FootComment} {
		for s := range secrets {
			*c = strings.ReplaceAll(*c, s, secret.Placeholder)
		}
	}
	for _, child := range n.Content {
		strike(child, secrets)
	}
}
