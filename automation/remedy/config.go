package remedy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/template"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"nocturne/alerting"
	"nocturne/internal/strictyaml"
)

// defaultVerifyWithin is the time for the proof where a remedy names none.
const defaultVerifyWithin = 30 * time.Second

const defaultTarget = "{{ .Labels.instance }}"

// Remedy says which alerts are answered, and how.
type Remedy struct {
	Name         string            `json:"name"`
	Alert        string            `json:"alert"` // name of the rule
	Match        map[string]string `json:"match,omitempty"`
	Runbook      string            `json:"runbook"`
	Parameters   map[string]string `json:"parameters,omitempty"` // templates
	Host         string            `json:"host,omitempty"`       // template; empty: Options.HostOf
	Target       string            `json:"target"`               // template: what is polled for the proof
	VerifyWithin time.Duration     `json:"verify_within"`
}

// Revision is a hash of all that the remedy says.
func (r Remedy) Revision() string {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and a number
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// JobID is the ID of the one job by which a remedy answers an episode.
func (r Remedy) JobID(episode string) string {
	sum := sha256.Sum256([]byte(episode + "\x00" + r.Revision()))
	return "rem-" + hex.EncodeToString(sum[:])[:20]
}

func (r Remedy) matches(rule string, ls labels.Labels) bool {
	if r.Alert != rule {
		return false
	}
	for name, v := range r.Match {
		if ls.Get(name) != v {
			return false
		}
	}
	return true
}

// text is a string that knows its line.
type text struct {
	value string
	line  int
}

func (t *text) UnmarshalYAML(n *yaml.Node) error {
	t.line = n.Line
	return n.Decode(&t.value)
}

// duration is a time.Duration that knows its line.
type duration struct {
	value time.Duration
	line  int
}

func (d *duration) UnmarshalYAML(n *yaml.Node) error {
	d.line = n.Line
	return n.Decode(&d.value)
}

type file struct {
	Remedies []struct {
		Name         text            `yaml:"name"`
		Alert        text            `yaml:"alert"`
		Match        map[string]text `yaml:"match"`
		Runbook      text            `yaml:"runbook"`
		Parameters   map[string]text `yaml:"parameters"`
		Host         text            `yaml:"host"`
		Target       text            `yaml:"target"`
		VerifyWithin duration        `yaml:"verify_within"`
	} `yaml:"remedies"`
}

// Parse reads a file of remedies. The error joins a *strictyaml.Fault for each
// fault.
func Parse(name string, data []byte) ([]Remedy, error) {
	var f file
	if err := strictyaml.Decode(name, data, &f); err != nil {
		return nil, err
	}
	c := checker{file: name, seen: map[string]bool{}}
	var out []Remedy
	for i, in := range f.Remedies {
		at := fmt.Sprintf("remedies[%d]", i)
		c.name(at+".name", in.Name)
		c.filled(at+".alert", in.Alert, in.Name.line)
		c.filled(at+".runbook", in.Runbook, in.Name.line)
		c.template(at+".host", in.Host)
		c.template(at+".target", in.Target)
		for _, p := range slices.Sorted(maps.Keys(in.Parameters)) {
			c.template(at+".parameters."+p, in.Parameters[p])
		}
		r := Remedy{
			Name: in.Name.value, Alert: in.Alert.value, Match: values(in.Match), Runbook: in.Runbook.value,
			Parameters: values(in.Parameters), Host: in.Host.value, Target: in.Target.value, VerifyWithin: in.VerifyWithin.value,
		}
		if r.Target == "" {
			r.Target = defaultTarget
		}
		if in.VerifyWithin.line == 0 {
			r.VerifyWithin = defaultVerifyWithin
		} else if r.VerifyWithin < time.Second || r.VerifyWithin > 24*time.Hour {
			c.fault(at+".verify_within", in.VerifyWithin.line, "%s is not between 1s and 24h", r.VerifyWithin)
		}
		out = append(out, r)
	}
	return out, errors.Join(c.faults...)
}

func values(m map[string]text) map[string]string {
	out := make(map[string]string, len(m))
	for k, t := range m {
		out[k] = t.value
	}
	return out
}

type checker struct {
	file   string
	seen   map[string]bool
	faults []error
}

func (c *checker) fault(path string, line int, format string, args ...any) {
	c.faults = append(c.faults, &strictyaml.Fault{File: c.file, Line: line, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) filled(path string, t text, near int) {
	if t.value == "" {
		c.fault(path, max(t.line, near), "is missing")
	}
}

func (c *checker) name(path string, t text) {
	c.filled(path, t, 0)
	if c.seen[t.value] {
		c.fault(path, t.line, "%q stands here twice", t.value)
	}
	c.seen[t.value] = true
}

// template tries a template on an alert that has every label.
func (c *checker) template(path string, t text) {
	if _, err := parseTemplate(t.value); err != nil {
		c.fault(path, t.line, "%v", err)
	}
}

func parseTemplate(s string) (*template.Template, error) {
	return template.New("remedy").Option("missingkey=error").Parse(s)
}

// subject is what templates see.
type subject struct {
	Alert, Item string
	Value       float64
	Labels      map[string]string
	Annotations map[string]string
}

func subjectOf(a alerting.Alert) subject {
	return subject{Alert: a.Rule, Item: a.Item, Value: a.Value, Labels: a.Labels.Map(), Annotations: a.Annotations}
}
