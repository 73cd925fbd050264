package alerting

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Severity is how bad an alert is.
type Severity string

// The severities, from the rule's label "severity".
const (
	Critical Severity = "critical"
	Major    Severity = "major"
	Warning  Severity = "warning"
)

// SeverityOf reads the label "severity". What is neither critical nor major is
// a warning.
func SeverityOf(ls labels.Labels) Severity {
	switch s := Severity(ls.Get("severity")); s {
	case Critical, Major:
		return s
	}
	return Warning
}

// Phases of an alert. An episode that leaves pending without having fired is
// resolved as well; its FiredAt is zero.
const (
	Inactive = "inactive" // only as the From of an episode's first transition
	Pending  = "pending"
	Firing   = "firing"
	Resolved = "resolved"

	// Escalated is no phase: as the To of a transition it says that the alert,
	// which stays what it is, needs a person.
	Escalated = "escalated"
)

// Alert is one episode of one rule for one set of labels: from the time the
// condition became true to the time it was seen to be false.
type Alert struct {
	Fingerprint string            `json:"fingerprint"` // of the labels that its episode began with
	Episode     string            `json:"episode"`     // of rule, labels and ActiveAt
	Rule        string            `json:"rule"`
	Group       string            `json:"group"`
	Labels      labels.Labels     `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Phase       string            `json:"phase"`
	ActiveAt    time.Time         `json:"active_at"`
	FiredAt     time.Time         `json:"fired_at,omitzero"`
	ResolvedAt  time.Time         `json:"resolved_at,omitzero"`
	Value       float64           `json:"-"` // as of the last evaluation that was true
	Item        string            `json:"item,omitempty"`
	Incident    string            `json:"incident,omitempty"`
	Ack         *Ack              `json:"ack,omitempty"`
	Stale       bool              `json:"-"`                // kept firing since its series are not seen
	Reason      string            `json:"reason,omitempty"` // why it is stale, or why it resolved
}

// Severity is that of the alert's labels.
func (a Alert) Severity() Severity { return SeverityOf(a.Labels) }

// Ack says that a person knows of a firing alert.
type Ack struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Note string    `json:"note,omitempty"`
}

// Transition is one change of an alert's phase.
type Transition struct {
	Episode     string            `json:"episode"`
	Fingerprint string            `json:"fingerprint"`
	Rule        string            `json:"rule"`
	Labels      labels.Labels     `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	From        string            `json:"from"`
	To          string            `json:"to"`
	At          time.Time         `json:"at"`
	Value       float64           `json:"-"` // written as a string, see MarshalJSON
	Item        string            `json:"item,omitempty"`
	Incident    string            `json:"incident,omitempty"`
	Reason      string            `json:"reason,omitempty"`
}

// Verdict is the answer to "is it over?".
type Verdict struct {
	Cleared bool    // the rule gives no result for the alert's labels
	Seen    bool    // all series that the alert rests on have samples newer than asked
	Value   float64 // of the rule while not cleared
	Reason  string  // for people: what is not seen, or what holds
}

// RuleStatus is how one rule does.
type RuleStatus struct {
	File, Group, Name string
	Record            bool // a recording rule
	Query             string
	For               time.Duration
	Interval          time.Duration // of its group
	Labels            map[string]string
	Annotations       map[string]string
	KeepFor           time.Duration // keep_firing_for
	Health            string        // "ok", "err" or "unknown" before the first evaluation
	LastError         string
	Loaded            time.Time
	LastEval          time.Time
	Duration          time.Duration // of the last evaluation
}

// Maintenance is a window during which an item and all that hangs on it is
// expected to misbehave. It mutes notifications, never evaluation, never a
// resolve.
type Maintenance struct {
	ID   string    `json:"id"` // given by Maintain when empty
	Item string    `json:"item"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	By   string    `json:"by"`
	Note string    `json:"note,omitempty"`
}

func (m Maintenance) covers(t time.Time) bool { return !t.Before(m.From) && t.Before(m.To) }

// Incident is what went wrong with one item: the episodes that overlap.
type Incident struct {
	ID       string    `json:"id"`
	Item     string    `json:"item,omitempty"`
	Opened   time.Time `json:"opened"`
	Closed   time.Time `json:"closed,omitzero"` // when the last episode resolved
	Episodes []string  `json:"episodes"`
}

// fingerprint names an alert over its episodes. An episode keeps it although a
// label of it changes: by it receivers know what has ended.
func fingerprint(r *rule, ls labels.Labels) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", r.id, ls.String()))
	return hex.EncodeToString(sum[:8])
}

// episodeID names an episode. The same condition found again after a crash
// that kept its record gives the same name.
func episodeID(rule string, ls labels.Labels, activeAt time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", rule, ls.String(), activeAt.UnixMilli()))
	return hex.EncodeToString(sum[:10])
}

func incidentID(episode string) string {
	sum := sha256.Sum256([]byte(episode))
	return "inc-" + hex.EncodeToString(sum[:])[:10]
}

// clone is safe to hand out: nothing in it is written to again.
func (a Alert) clone() Alert {
	a.Annotations = maps.Clone(a.Annotations)
	if a.Ack != nil {
		a.Ack = new(*a.Ack)
	}
	return a
}
