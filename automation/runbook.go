package automation

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"nocturne/internal/strictyaml"
)

// DefaultStepTimeout is the time a step gets that declares none.
const DefaultStepTimeout = 60 * time.Second

// Runbook is a named list of steps with parameters. A step's shell text holds
// {{name}} where a parameter's value goes, as one quoted word; see Render.
type Runbook struct {
	Name        string      `json:"name"`
	Title       string      `json:"title"`
	Description string      `json:"description,omitempty"`
	Parameters  []Parameter `json:"parameters,omitempty"`
	Steps       []Step      `json:"steps"`
	Revision    string      `json:"revision"` // hash of all the above, in hex
}

// Parameter is a value that whoever starts a job gives.
type Parameter struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Default     string `json:"default,omitempty"`
	// Pattern is a regular expression (RE2) that the whole value must match.
	// Without one, a value may be anything that is not empty, does not begin
	// with a dash (an option to the command) and holds no NUL.
	Pattern  string `json:"pattern,omitempty"`
	Required bool   `json:"required,omitempty"`
}

// Step is one command. Shell goes to the login shell of the host's user, which
// must be a POSIX shell.
type Step struct {
	Name    string        `json:"name"`
	Shell   string        `json:"shell"`
	Timeout time.Duration `json:"timeout"` // of the whole step, DefaultStepTimeout if not given
	// Idempotent says that running the command again does no harm, also while
	// the first one still runs.
	Idempotent bool `json:"idempotent,omitempty"`
	// Probe is a command that only looks; exit status 0 says that the step took
	// effect, 1 to 125 that it did not and never will: the step is then run
	// again. It is asked when a step's outcome is unknown, and may be run any
	// number of times; not while the command's processes are at work, see fence.
	// What a command leaves behind in a session of its own (setsid, a service
	// that still starts) is the probe's to know: exit status 126 says that it may
	// be at work, and the probe is asked again until twice the step's timeout has
	// passed since the command was sent. Then the step is unknown.
	// A host must be able to hold a mark in the user's home, or in /var/tmp where
	// there is none: else a step with a probe ends with status 125 and is not run.
	Probe string `json:"probe,omitempty"`
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

type runbookFile struct {
	Name        located `yaml:"name"`
	Title       string  `yaml:"title"`
	Description string  `yaml:"description"`
	Parameters  []struct {
		Name        located `yaml:"name"`
		Description string  `yaml:"description"`
		Default     located `yaml:"default"`
		Pattern     located `yaml:"pattern"`
		Required    bool    `yaml:"required"`
	} `yaml:"parameters"`
	Steps []struct {
		Name       located       `yaml:"name"`
		Shell      located       `yaml:"shell"`
		Timeout    time.Duration `yaml:"timeout"`
		Idempotent bool          `yaml:"idempotent"`
		Probe      located       `yaml:"probe"`
	} `yaml:"steps"`
}

var nameRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// ParseRunbook reads one runbook. name is the file's name in the faults, which
// are all reported together, each with file, line and field.
func ParseRunbook(name string, data []byte) (Runbook, error) {
	var f runbookFile
	if err := strictyaml.Decode(name, data, &f); err != nil {
		return Runbook{}, err
	}
	p := runbookParser{file: name, params: map[string]bool{}}
	p.name("name", f.Name)
	rb := Runbook{Name: f.Name.text, Title: f.Title, Description: f.Description}
	if rb.Title == "" {
		rb.Title = rb.Name
	}
	for i, q := range f.Parameters {
		at := fmt.Sprintf("parameters[%d].", i)
		p.name(at+"name", q.Name)
		if p.params[q.Name.text] {
			p.fault(q.Name.line, at+"name", "parameter %q stands here twice", q.Name.text)
		}
		p.params[q.Name.text] = true
		par := Parameter{Name: q.Name.text, Description: q.Description, Default: q.Default.text, Pattern: q.Pattern.text, Required: q.Required}
		p.parameter(at, par, q.Pattern.line, q.Default.line)
		rb.Parameters = append(rb.Parameters, par)
	}
	if len(f.Steps) == 0 {
		p.fault(0, "steps", "a runbook needs at least one step")
	}
	seen := map[string]bool{}
	for i, s := range f.Steps {
		at := fmt.Sprintf("steps[%d].", i)
		p.name(at+"name", s.Name)
		if seen[s.Name.text] {
			p.fault(s.Name.line, at+"name", "step %q stands here twice", s.Name.text)
		}
		seen[s.Name.text] = true
		if strings.TrimSpace(s.Shell.text) == "" {
			p.fault(max(s.Shell.line, s.Name.line), at+"shell", "a step needs a command")
		}
		p.template(at+"shell", s.Shell)
		p.template(at+"probe", s.Probe)
		if s.Timeout < 0 {
			p.fault(s.Name.line, at+"timeout", "a step's timeout cannot be negative")
		}
		st := Step{Name: s.Name.text, Shell: s.Shell.text, Timeout: s.Timeout, Idempotent: s.Idempotent, Probe: s.Probe.text}
		if st.Timeout == 0 {
			st.Timeout = DefaultStepTimeout
		}
		rb.Steps = append(rb.Steps, st)
	}
	if err := errors.Join(p.faults...); err != nil {
		return Runbook{}, err
	}
	rb.Revision = revision(rb)
	return rb, nil
}

// revision hashes what a runbook says.
func revision(rb Runbook) string {
	rb.Revision = ""
	b, err := json.Marshal(rb)
	if err != nil {
		panic(err) // strings, numbers and booleans always encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

type runbookParser struct {
	file   string
	params map[string]bool
	faults []error
}

func (p *runbookParser) fault(line int, path, format string, args ...any) {
	p.faults = append(p.faults, &strictyaml.Fault{File: p.file, Line: line, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (p *runbookParser) name(path string, l located) {
	switch {
	case l.text == "":
		p.fault(l.line, path, "a name is needed")
	case !nameRE.MatchString(l.text):
		p.fault(l.line, path, "%q is not a name: a letter, then letters, digits, - and _, 64 at most", l.text)
	}
}

func (p *runbookParser) parameter(at string, par Parameter, patternLine, defaultLine int) {
	if _, err := compilePattern(par.Pattern); err != nil {
		p.fault(patternLine, at+"pattern", "%v", err)
		return
	}
	if par.Default == "" {
		return
	}
	if err := par.check(par.Default); err != nil {
		p.fault(defaultLine, at+"default", "%v", err)
	}
}

func (p *runbookParser) template(path string, l located) {
	t, err := parseTemplate(l.text)
	if err != nil {
		p.fault(l.line, path, "%v", err)
		return
	}
	for _, n := range t.names() {
		if !p.params[n] {
			p.fault(l.line, path, "parameter %q is used but not declared", n)
		}
	}
}

// compilePattern anchors a parameter's pattern at both ends.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, fmt.Errorf("bad pattern: %w", err)
	}
	return regexp.MustCompile(`\A(?:` + pattern + `)\z`), nil
}

// check tells why value may not be given to the parameter.
func (par Parameter) check(value string) error {
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("parameter %q: a NUL cannot be part of a command", par.Name)
	}
	if par.Pattern == "" {
		if strings.HasPrefix(value, "-") {
			return fmt.Errorf("parameter %q: a value that begins with a dash needs a pattern that allows it", par.Name)
		}
		return nil
	}
	re, err := compilePattern(par.Pattern)
	if err != nil {
		return fmt.Errorf("parameter %q: %w", par.Name, err)
	}
	if !re.MatchString(value) {
		return fmt.Errorf("parameter %q: %q does not match %s", par.Name, value, par.Pattern)
	}
	return nil
}

// Bind checks given values against the runbook's parameters and returns them
// with the defaults filled in. The error names every parameter that is missing,
// invalid or unknown.
func (rb Runbook) Bind(given map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(rb.Parameters))
	var faults []error
	known := map[string]bool{}
	for _, par := range rb.Parameters {
		known[par.Name] = true
		v, ok := given[par.Name]
		if !ok || v == "" {
			v = par.Default
		}
		if v == "" && par.Required {
			faults = append(faults, fmt.Errorf("parameter %q is missing", par.Name))
			continue
		}
		if v != "" {
			if err := par.check(v); err != nil {
				faults = append(faults, err)
			}
		}
		out[par.Name] = v
	}
	for name := range given {
		if !known[name] {
			faults = append(faults, fmt.Errorf("parameter %q is unknown to runbook %s", name, rb.Name))
		}
	}
	return out, errors.Join(faults...)
}
