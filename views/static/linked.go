package static

import (
	"path"
	"regexp"
)

// reference matches a relative path in quotes: what a style sheet or a module
// names of its neighbours.
var reference = regexp.MustCompile(`"(\.\.?/[a-z0-9_./-]+\.(?:js|css|woff2|svg))"`)

// linked puts the hashed names of its neighbours into a style sheet or module,
// so that a change of one changes the names of all that name it. References
// form no circle: modules import downwards only.
func linked(name string, b []byte) []byte {
	if ext := path.Ext(name); ext != ".css" && ext != ".js" || path.Dir(name) == "vendor" {
		return b
	}
	return reference.ReplaceAllFunc(b, func(m []byte) []byte {
		rel := string(m[1 : len(m)-1])
		target := path.Join(path.Dir(name), rel)
		t, err := files.ReadFile(target)
		if err != nil {
			panic("static: " + name + " names " + rel + ", which is not there")
		}
		hashed := newAsset(target, t).name
		return []byte(`"` + path.Dir(rel) + "/" + path.Base(hashed) + `"`)
	})
}
