package strictyaml

import (
	"bytes"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Lines knows on which line of a file each field stands, for faults that are
// found after decoding.
type Lines map[string]int

// LinesOf reads where the fields of data stand. What does not parse has none.
func LinesOf(data []byte) Lines {
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil || len(doc.Content) != 1 {
		return nil
	}
	l := Lines{}
	l.add(doc.Content[0], "")
	return l
}

// add does not follow aliases: what they stand for is written elsewhere, and
// may hold itself.
func (l Lines) add(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			at := join(path, n.Content[i].Value)
			if _, twice := l[at]; !twice {
				l[at] = n.Content[i].Line
				l.add(n.Content[i+1], at)
			}
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			at := path + "[" + strconv.Itoa(i) + "]"
			l[at] = c.Line
			l.add(c, at)
		}
	}
}

// Of returns the line of the field at path, or of the innermost that is there
// of those around it: what is missing is missing there. 0: the file has none.
func (l Lines) Of(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}
