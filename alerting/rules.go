package alerting

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// File is one file of rules in Prometheus' format.
type File struct {
	Name string
	Data []byte
}

// RuleError is one thing that is wrong with a file of rules. Group, Rule and
// Line are empty where the fault is not in one rule or has no line.
type RuleError struct {
	File  string
	Line  int // 1-based
	Group string
	Rule  string
	Err   error

	index int // of the rule in its group, from 1
}

func (e *RuleError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Group != "" {
		fmt.Fprintf(&b, ": group %q", e.Group)
	}
	if e.index > 0 {
		fmt.Fprintf(&b, ": rule %d %q", e.index, e.Rule)
	}
	return b.String() + ": " + e.Err.Error()
}

func (e *RuleError) Unwrap() error { return e.Err }

// group is one group of rules, evaluated in their order.
type group struct {
	file, name string
	interval   time.Duration
	rules      []*rule
}

// rule is one rule that parses.
type rule struct {
	id                string // names it over restarts: group, name, which of that name
	file, group, name string
	record            bool
	query             string
	expr              parser.Expr
	hold              time.Duration // `for`
	keep              time.Duration // keep_firing_for
	labels            map[string]string
	annotations       map[string]string
	rests             []selector // what its alerts rest on
}

var promQL = parser.NewParser(parser.Options{})

// ParseRules reads files of rules. The error joins a *RuleError for each fault.
func ParseRules(files []File) error {
	_, faults := parse(files)
	return errors.Join(asErrors(faults)...)
}

// AlertNames lists the alerts that the sound rules of the files raise.
func AlertNames(files []File) (names []string) {
	groups, _ := parse(files)
	for _, g := range groups {
		for _, r := range g.rules {
			if !r.record {
				names = append(names, r.name)
			}
		}
	}
	return names
}

func asErrors(faults []*RuleError) []error {
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errs
}

// parse returns every rule that is sound, and what is wrong with the others.
func parse(files []File) (groups []*group, faults []*RuleError) {
	names := map[string]string{} // group -> file
	for _, f := range files {
		gs, errs := rulefmt.Parse(f.Data, false, model.UTF8Validation, promQL, slog.New(slog.NewTextHandler(io.Discard, nil)))
		bad := map[string]bool{} // group/index
		whole := gs == nil
		for _, err := range errs {
			fault := ruleFault(f.Name, err)
			// rulefmt reads a file twice, and says what is no YAML twice.
			if n := len(faults); n == 0 || faults[n-1].Error() != fault.Error() {
				faults = append(faults, fault)
			}
			switch {
			case fault.index > 0:
				bad[fmt.Sprintf("%s/%d", fault.Group, fault.index)] = true
			default:
				whole = true
			}
		}
		if whole {
			continue
		}
		for _, g := range gs.Groups {
			// Alerts are kept by group and rule: two groups of one name would share them.
			if other, twice := names[g.Name]; twice {
				faults = append(faults, &RuleError{File: f.Name, Group: g.Name, Err: fmt.Errorf("a group of this name is in %s already", other)})
				continue
			}
			names[g.Name] = f.Name
			groups = append(groups, newGroup(f.Name, g, bad))
		}
	}
	restOnRecorded(groups)
	return groups, faults
}

func newGroup(file string, g rulefmt.RuleGroup, bad map[string]bool) *group {
	out := &group{file: file, name: g.Name, interval: time.Duration(g.Interval)}
	count := map[string]int{}
	for i, r := range g.Rules {
		count[r.Alert+r.Record]++
		if bad[fmt.Sprintf("%s/%d", g.Name, i+1)] {
			continue
		}
		expr, err := promQL.ParseExpr(r.Expr)
		if err != nil {
			continue // rulefmt has parsed it before
		}
		ls := maps.Clone(g.Labels)
		if ls == nil {
			ls = map[string]string{}
		}
		maps.Copy(ls, r.Labels)
		out.rules = append(out.rules, &rule{
			id:   ruleID(g.Name, r.Alert+r.Record, count[r.Alert+r.Record]),
			file: file, group: g.Name, name: r.Alert + r.Record, record: r.Record != "",
			query: r.Expr, expr: expr, hold: time.Duration(r.For), keep: time.Duration(r.KeepFiringFor),
			labels: ls, annotations: r.Annotations, rests: restsOn(expr),
		})
	}
	return out
}

// ruleID tells rules of one name apart by their order. Names may hold anything.
func ruleID(group, name string, nth int) string {
	id := url.PathEscape(group) + "/" + url.PathEscape(name)
	if nth > 1 {
		id += "#" + strconv.Itoa(nth)
	}
	return id
}

// ruleFault gives an error of rulefmt its file, and takes "line:column: " or
// "yaml: line N: " off its text.
func ruleFault(file string, err error) *RuleError {
	f := &RuleError{File: file, Err: err}
	if re, ok := errors.AsType[*rulefmt.Error](err); ok {
		f.Group, f.Rule, f.index = re.Group, re.RuleName, re.Rule
		err = &re.Err
	}
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	msg = strings.TrimPrefix(msg, "unmarshal errors:\n  ")
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		msg = rest
	}
	if head, rest, ok := strings.Cut(msg, ":"); ok {
		if n, err := strconv.Atoi(head); err == nil {
			f.Line, msg = n, rest
		}
		if col, rest, ok := strings.Cut(msg, ": "); ok && f.Line > 0 {
			if _, err := strconv.Atoi(col); err == nil {
				msg = rest
			}
		}
	}
	f.Err = errors.New(strings.TrimSpace(msg))
	return f
}
