package promapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/alerting"
)

type alert struct {
	Labels      labelSet  `json:"labels"`
	Annotations labelSet  `json:"annotations"`
	State       string    `json:"state"`
	ActiveAt    time.Time `json:"activeAt"`
	Value       string    `json:"value"`
}

type alertingRule struct {
	State          string    `json:"state"`
	Name           string    `json:"name"`
	Query          string    `json:"query"`
	Duration       float64   `json:"duration"`
	KeepFiringFor  float64   `json:"keepFiringFor"`
	Labels         labelSet  `json:"labels"`
	Annotations    labelSet  `json:"annotations"`
	Alerts         []alert   `json:"alerts"`
	Health         string    `json:"health"`
	LastError      string    `json:"lastError,omitempty"`
	EvaluationTime float64   `json:"evaluationTime"`
	LastEvaluation time.Time `json:"lastEvaluation"`
	Type           string    `json:"type"`
}

type recordingRule struct {
	Name           string    `json:"name"`
	Query          string    `json:"query"`
	Labels         labelSet  `json:"labels"`
	Health         string    `json:"health"`
	LastError      string    `json:"lastError,omitempty"`
	EvaluationTime float64   `json:"evaluationTime"`
	LastEvaluation time.Time `json:"lastEvaluation"`
	Type           string    `json:"type"`
}

type ruleGroup struct {
	Name           string    `json:"name"`
	File           string    `json:"file"`
	Rules          []any     `json:"rules"`
	Interval       float64   `json:"interval"`
	Limit          int       `json:"limit"`
	EvaluationTime float64   `json:"evaluationTime"`
	LastEvaluation time.Time `json:"lastEvaluation"`
}

type ruleGroups struct {
	Groups []*ruleGroup `json:"groups"`
	Next   string       `json:"groupNextToken,omitempty"`
}

func (a *api) active() []alerting.Alert {
	if a.Alerts == nil {
		return nil
	}
	return a.Alerts()
}

func (a *api) alerts(*http.Request) answer {
	out := []alert{}
	for _, al := range a.active() {
		out = append(out, asAlert(al))
	}
	return answer{data: map[string][]alert{"alerts": out}}
}

func asAlert(a alerting.Alert) alert {
	return alert{
		Labels: labelSet{a.Labels}, Annotations: labelSet{labels.FromMap(a.Annotations)}, State: a.Phase, ActiveAt: a.ActiveAt.UTC(),
		Value: strconv.FormatFloat(a.Value, 'e', -1, 64),
	}
}

// ruleFilter is what a request for rules asks for.
type ruleFilter struct {
	names, groups, files []string
	matchers             [][]*labels.Matcher
	kind                 string // alert, record or both
	noAlerts             bool
	most                 int // groups; 0 is all
	from                 string
}

func (a *api) ruleFilter(r *http.Request) (f ruleFilter, bad *answer) {
	if err := r.ParseForm(); err != nil {
		return f, new(badData(fmt.Errorf("error parsing form values: %w", err)))
	}
	q := r.URL.Query()
	f = ruleFilter{names: r.Form["rule_name[]"], groups: r.Form["rule_group[]"], files: r.Form["file[]"], kind: strings.ToLower(q.Get("type")), from: q.Get("group_next_token")}
	var err error
	if f.matchers, err = a.matchers(r); err != nil {
		return f, new(badData(err))
	}
	if f.kind != "" && f.kind != "alert" && f.kind != "record" {
		return f, new(invalid("type", fmt.Errorf("not supported value %q", f.kind)))
	}
	if s := strings.ToLower(q.Get("exclude_alerts")); s != "" {
		if f.noAlerts, err = strconv.ParseBool(s); err != nil {
			return f, new(invalid("exclude_alerts", fmt.Errorf("error converting exclude_alerts: %w", err)))
		}
	}
	most := q.Get("group_limit")
	if most == "" && f.from != "" {
		return f, new(invalid("group_next_token", errors.New("group_limit needs to be present in order to paginate over the groups")))
	}
	if most != "" {
		n, err := strconv.ParseInt(most, 10, 32)
		if err != nil {
			return f, new(invalid("group_limit", fmt.Errorf("group_limit needs to be a valid number: %w", err)))
		}
		if n <= 0 {
			return f, new(invalid("group_limit", errors.New("group_limit needs to be greater than 0")))
		}
		f.most = int(n)
	}
	return f, nil
}

func (f ruleFilter) wants(r alerting.RuleStatus) bool {
	among := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	if r.Query == "" { // it did not load
		return false
	}
	return among(f.names, r.Name) && among(f.groups, r.Group) && among(f.files, r.File) &&
		(f.kind == "" || (f.kind == "record") == r.Record) && f.matches(labels.FromMap(r.Labels))
}

func (f ruleFilter) matches(ls labels.Labels) bool {
	return len(f.matchers) == 0 || slices.ContainsFunc(f.matchers, func(set []*labels.Matcher) bool {
		return !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return !m.Matches(ls.Get(m.Name)) })
	})
}

func (a *api) rules(r *http.Request) answer {
	f, bad := a.ruleFilter(r)
	if bad != nil {
		return *bad
	}
	out, found := ruleGroups{Groups: []*ruleGroup{}}, f.from == ""
	for _, g := range a.groups(f) {
		token := groupToken(g)
		if found = found || token == f.from; !found || len(g.Rules) == 0 {
			continue
		}
		if f.most > 0 && len(out.Groups) == f.most {
			out.Next = token
			break
		}
		out.Groups = append(out.Groups, g)
	}
	if !found {
		return invalid("group_next_token", fmt.Errorf("invalid group_next_token '%v'. were rule groups changed?", f.from))
	}
	return answer{data: out}
}

func groupToken(g *ruleGroup) string {
	sum := sha256.Sum256([]byte(g.File + ";" + g.Name))
	return hex.EncodeToString(sum[:])
}

// groups are all groups, with those rules that are wanted.
func (a *api) groups(f ruleFilter) []*ruleGroup {
	if a.Rules == nil {
		return nil
	}
	type key struct{ group, rule string }
	active := map[key][]alerting.Alert{}
	for _, al := range a.active() {
		k := key{al.Group, al.Rule}
		active[k] = append(active[k], al)
	}
	var out []*ruleGroup
	for _, r := range a.Rules() {
		i := slices.IndexFunc(out, func(g *ruleGroup) bool { return g.Name == r.Group && g.File == r.File })
		if i < 0 {
			i = len(out)
			out = append(out, &ruleGroup{Name: r.Group, File: r.File, Rules: []any{}, Interval: r.Interval.Seconds()})
		}
		g := out[i]
		g.EvaluationTime += r.Duration.Seconds()
		if g.LastEvaluation.IsZero() || r.LastEval.Before(g.LastEvaluation) {
			g.LastEvaluation = r.LastEval
		}
		if f.wants(r) {
			g.Rules = append(g.Rules, a.asRule(r, active[key{r.Group, r.Name}], f.noAlerts))
		}
	}
	return out
}

// asRule is a rule in Prometheus' words. Of rules of one name in one group,
// each shows the alerts that carry its labels.
func (a *api) asRule(r alerting.RuleStatus, active []alerting.Alert, noAlerts bool) any {
	query := r.Query
	if expr, err := a.parser.ParseExpr(query); err == nil {
		query = expr.String()
	}
	own := labels.FromMap(r.Labels)
	if r.Record {
		return recordingRule{
			Name: r.Name, Query: query, Labels: labelSet{own}, Health: r.Health, LastError: r.LastError,
			EvaluationTime: r.Duration.Seconds(), LastEvaluation: r.LastEval, Type: "recording",
		}
	}
	out := alertingRule{
		State: "inactive", Name: r.Name, Query: query, Duration: r.For.Seconds(), KeepFiringFor: r.KeepFor.Seconds(),
		Labels: labelSet{own}, Annotations: labelSet{labels.FromMap(r.Annotations)}, Health: r.Health, LastError: r.LastError,
		EvaluationTime: r.Duration.Seconds(), LastEvaluation: r.LastEval, Type: "alerting",
	}
	if r.LastEval.IsZero() {
		out.State = "unknown"
	}
	if !noAlerts {
		out.Alerts = []alert{}
	}
	for _, al := range active {
		if !carries(al.Labels, r.Labels) {
			continue
		}
		out.State = worse(out.State, al.Phase)
		if !noAlerts {
			out.Alerts = append(out.Alerts, asAlert(al))
		}
	}
	return out
}

// carries reports whether an alert has the labels of a rule; what a template
// made of one is not looked at.
func carries(ls labels.Labels, own map[string]string) bool {
	for name, v := range own {
		if !strings.Contains(v, "{{") && ls.Get(name) != v {
			return false
		}
	}
	return true
}

var ranks = map[string]int{alerting.Pending: 1, alerting.Firing: 2}

func worse(a, b string) string {
	if cmp.Compare(ranks[a], ranks[b]) >= 0 {
		return a
	}
	return b
}
