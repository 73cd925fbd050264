package inventory

import (
	"strconv"

	"go.yaml.in/yaml/v3"
)

// The file's structs; doc.go shows an example. Fields are ordered as exported.

type fileDoc struct {
	Sites        []fileSite        `yaml:"sites,omitempty"`
	Applications []fileApplication `yaml:"applications,omitempty"`
	Items        []fileItem        `yaml:"items,omitempty"`
	Relations    []fileRelation    `yaml:"relations,omitempty"`
}

type fileSite struct {
	Name  word       `yaml:"name"`
	Title string     `yaml:"title,omitempty"`
	Rooms []fileRoom `yaml:"rooms,omitempty"`
}

type fileRoom struct {
	Name  word       `yaml:"name"`
	Title string     `yaml:"title,omitempty"`
	Racks []fileRack `yaml:"racks,omitempty"`
}

type fileRack struct {
	Name     word        `yaml:"name"`
	Title    string      `yaml:"title,omitempty"`
	Units    number      `yaml:"units,omitempty"`
	Row      string      `yaml:"row,omitempty"`
	Contents []filePlace `yaml:"contents,omitempty"`
}

type filePlace struct {
	Kind   word   `yaml:"kind"`
	Name   word   `yaml:"name"`
	U      number `yaml:"u,omitempty"`
	Height number `yaml:"height,omitempty"`
	Face   word   `yaml:"face,omitempty"`
}

type fileApplication struct {
	Name      word   `yaml:"name"`
	Title     string `yaml:"title,omitempty"`
	DependsOn []word `yaml:"depends_on,omitempty"`
}

type fileItem struct {
	ID     word                         `yaml:"id"`
	Name   string                       `yaml:"name,omitempty"`
	Fields map[string]string            `yaml:"fields,omitempty"`
	Names  map[string]string            `yaml:"names,omitempty"` // source -> name
	Seen   map[string]map[string]string `yaml:"seen,omitempty"`  // source -> field -> value
}

type fileRelation struct {
	From   word              `yaml:"from"`
	Type   word              `yaml:"type"`
	To     word              `yaml:"to"`
	Fields map[string]string `yaml:"fields,omitempty"`
	Source string            `yaml:"source,omitempty"` // import when left out
}

// word is a string that knows its line.
type word struct {
	text string
	line int
}

func (w *word) UnmarshalYAML(n *yaml.Node) error {
	w.line = n.Line
	return n.Decode(&w.text)
}

func (w word) MarshalYAML() (any, error) { return w.text, nil }
func (w word) IsZero() bool              { return w.text == "" }

// number is a number that knows its line.
type number struct {
	value float64
	line  int
}

func (x *number) UnmarshalYAML(n *yaml.Node) error {
	x.line = n.Line
	return n.Decode(&x.value)
}

func (x number) MarshalYAML() (any, error) {
	if x.value == float64(int(x.value)) {
		return int(x.value), nil
	}
	return x.value, nil
}

func (x number) IsZero() bool { return x.value == 0 }

func (x number) String() string { return strconv.FormatFloat(x.value, 'f', -1, 64) }
