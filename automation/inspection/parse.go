package inspection

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/robfig/cron/v3"
	"go.yaml.in/yaml/v3"

	"nocturne/internal/strictyaml"
)

// Inspection is a list of checks that is made on a schedule.
type Inspection struct {
	Name, Title string
	Schedule    string // cron expression
	Checks      []Check

	schedule cron.Schedule
}

// Check is one query and what its values mean.
type Check struct {
	Name, Title, Text string
	Query             string
	Unit              string
	Warn, Fail        Threshold
	// Expect is a query that lists the series which should be there, or the
	// least number of them. A listed series is there when a series of the
	// result agrees with it in each label that both have, of which there must
	// be one.
	Expect string
}

// Threshold is a condition on a value, such as "> 80". The zero value never
// holds.
type Threshold struct {
	Op    string // > >= < <= == !=
	Value float64
}

var thresholdRE = regexp.MustCompile(`^(>=|<=|==|!=|>|<)\s*(\S+)$`)

// ParseThreshold reads a comparison and a number.
func ParseThreshold(s string) (Threshold, error) {
	m := thresholdRE.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return Threshold{}, fmt.Errorf("%q is not a threshold such as \"> 80\"", s)
	}
	v, err := strconv.ParseFloat(m[2], 64)
	if err != nil || v != v {
		return Threshold{}, fmt.Errorf("%q is not a threshold: %s is not a number", s, m[2])
	}
	return Threshold{Op: m[1], Value: v}, nil
}

func (t Threshold) String() string {
	if t.Op == "" {
		return ""
	}
	return t.Op + " " + strconv.FormatFloat(t.Value, 'g', -1, 64)
}

// Holds tells whether v meets the condition. NaN meets none.
func (t Threshold) Holds(v float64) bool {
	switch t.Op {
	case ">":
		return v > t.Value
	case ">=":
		return v >= t.Value
	case "<":
		return v < t.Value
	case "<=":
		return v <= t.Value
	case "==":
		return v == t.Value
	case "!=":
		return v < t.Value || v > t.Value
	}
	return false
}

// located is a YAML scalar that remembers its line.
type located struct {
	text string
	line int
}

func (l *located) UnmarshalYAML(n *yaml.Node) error {
	l.line = n.Line
	return n.Decode(&l.text)
}

type checkText struct {
	Name   located `yaml:"name"`
	Title  string  `yaml:"title"`
	Text   string  `yaml:"text"`
	Query  located `yaml:"query"`
	Unit   string  `yaml:"unit"`
	Warn   located `yaml:"warn"`
	Fail   located `yaml:"fail"`
	Expect located `yaml:"expect"`
}

type fileText struct {
	Inspections []struct {
		Name     located     `yaml:"name"`
		Title    string      `yaml:"title"`
		Schedule located     `yaml:"schedule"`
		Checks   []checkText `yaml:"checks"`
	} `yaml:"inspections"`
}

type faults struct {
	file string
	list []error
}

func (f *faults) add(line int, path, format string, args ...any) {
	f.list = append(f.list, &strictyaml.Fault{File: f.file, Line: line, Path: path, Message: fmt.Sprintf(format, args...)})
}

var nameRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

func (f *faults) name(path string, l located, seen map[string]bool) {
	switch {
	case !nameRE.MatchString(l.text):
		f.add(l.line, path, "%q is not a name: a letter, then letters, digits, - and _, 64 at most", l.text)
	case seen[l.text]:
		f.add(l.line, path, "%q stands here twice", l.text)
	}
	seen[l.text] = true
}

// Parse reads a file of inspections. name is the file's name in the faults,
// which are all reported together, each with file, line and field.
func Parse(name string, data []byte) ([]Inspection, error) {
	var text fileText
	if err := strictyaml.Decode(name, data, &text); err != nil {
		return nil, err
	}
	f := &faults{file: name}
	var out []Inspection
	names := map[string]bool{}
	for i, t := range text.Inspections {
		at := fmt.Sprintf("inspections[%d].", i)
		f.name(at+"name", t.Name, names)
		in := Inspection{Name: t.Name.text, Title: t.Title, Schedule: t.Schedule.text}
		if in.Title == "" {
			in.Title = in.Name
		}
		var err error
		if in.schedule, err = cron.ParseStandard(in.Schedule); err != nil {
			f.add(max(t.Schedule.line, t.Name.line), at+"schedule", "%v", err)
		} else if in.schedule.Next(time.Now()).IsZero() {
			f.add(t.Schedule.line, at+"schedule", "%q never comes", in.Schedule)
		}
		if len(t.Checks) == 0 {
			f.add(t.Name.line, at+"checks", "an inspection needs at least one check")
		}
		checks := map[string]bool{}
		for k, c := range t.Checks {
			cat := fmt.Sprintf("%schecks[%d].", at, k)
			f.name(cat+"name", c.Name, checks)
			in.Checks = append(in.Checks, f.check(cat, c))
		}
		out = append(out, in)
	}
	return out, errors.Join(f.list...)
}

func (f *faults) check(at string, t checkText) Check {
	c := Check{Name: t.Name.text, Title: t.Title, Text: t.Text, Query: t.Query.text, Unit: t.Unit, Expect: t.Expect.text}
	if c.Title == "" {
		c.Title = c.Name
	}
	f.query(at+"query", t.Query, t.Name.line)
	c.Warn = f.threshold(at+"warn", t.Warn)
	c.Fail = f.threshold(at+"fail", t.Fail)
	if c.Expect != "" {
		if n, err := strconv.Atoi(c.Expect); err != nil {
			f.query(at+"expect", t.Expect, t.Name.line)
		} else if n < 1 {
			f.add(t.Expect.line, at+"expect", "at least one series must be expected")
		}
	}
	if t.Warn.text == "" && t.Fail.text == "" && c.Expect == "" {
		f.add(t.Name.line, at+"warn", "a check needs warn, fail or expect, or it can only pass")
	}
	return c
}

func (f *faults) threshold(at string, l located) Threshold {
	if l.text == "" {
		return Threshold{}
	}
	t, err := ParseThreshold(l.text)
	if err != nil {
		f.add(l.line, at, "%v", err)
	}
	return t
}

func (f *faults) query(at string, l located, nameLine int) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(l.text)
	if err != nil {
		f.add(max(l.line, nameLine), at, "%v", err)
		return
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		f.add(l.line, at, "wants an instant vector or a scalar, not a %s", t)
	}
}
