// Package glob lists files by patterns of their names, as filepath.Glob does,
// in a folder whose own name is no pattern: people call folders "dc[1]".
package glob

import (
	"path/filepath"
	"strings"
)

var quote = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// Quote makes a path match itself alone.
func Quote(path string) string { return quote.Replace(path) }

// In lists what is in dir, a pattern for each level below it.
func In(dir string, patterns ...string) ([]string, error) {
	return filepath.Glob(filepath.Join(append([]string{Quote(dir)}, patterns...)...))
}
