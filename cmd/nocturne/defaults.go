package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
)

// What runs when the configuration names no files of its own.
//
//go:embed defaults
var defaults embed.FS

// textFile is a file that people wrote: its name for faults, and its content.
type textFile struct {
	name string
	data []byte
}

// defaultFile is one of the embedded ones.
func defaultFile(name string) (textFile, error) {
	data, err := defaults.ReadFile("defaults/" + name)
	if err != nil {
		return textFile{}, fmt.Errorf("embedded %s: %w", name, err)
	}
	return textFile{name: "built-in " + name, data: data}, nil
}

// readFiles reads every file that the globs name. A pattern that matches
// nothing is an error: a rule file that was moved must not go missing quietly.
func readFiles(field string, patterns []string) ([]textFile, error) {
	var out []textFile
	for i, p := range patterns {
		names, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: pattern %q: %w", field, i, p, err)
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%s[%d]: no file matches %q", field, i, p)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
			}
			out = append(out, textFile{name, data})
		}
	}
	return out, nil
}
