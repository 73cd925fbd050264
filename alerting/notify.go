package alerting

import (
	"context"
	"errors"
	"maps"
	"time"
)

// Notifier brings notifications to one receiver. An error means "again later",
// except one that is ErrRejected.
type Notifier interface {
	Notify(ctx context.Context, n Notification) error
}

// ErrRejected marks the error of a Notifier whose receiver will not take a
// notification however often it is sent.
var ErrRejected = errors.New("the receiver rejects the notification")

// Notification is what a receiver is told of one incident.
type Notification struct {
	Key               string // the same for all notifications of the incident
	Incident, Item    string
	Firing            bool // any alert in it fires
	Escalation        bool // it says that a person is needed
	GroupLabels       map[string]string
	CommonLabels      map[string]string
	CommonAnnotations map[string]string
	ExternalURL       string
	Alerts            []NotifiedAlert
}

// NotifiedAlert is one alert of a notification.
type NotifiedAlert struct {
	Firing       bool
	Labels       map[string]string
	Annotations  map[string]string
	StartsAt     time.Time // when it became active
	EndsAt       time.Time // zero while it fires
	GeneratorURL string
	Fingerprint  string
}

// Labels of an escalation.
const (
	EscalationLabel  = "escalation" // "true"
	EscalationReason = "reason"     // annotation
)

func (e *Engine) notification(incident, item string, alerts []NotifiedAlert) Notification {
	n := Notification{
		Key: incident, Incident: incident, Item: item, Alerts: alerts, ExternalURL: e.o.ExternalURL,
		GroupLabels: map[string]string{"incident": incident},
	}
	for i, a := range alerts {
		n.Firing = n.Firing || a.Firing
		if i == 0 {
			n.CommonLabels, n.CommonAnnotations = maps.Clone(a.Labels), maps.Clone(a.Annotations)
			continue
		}
		n.CommonLabels = shared(n.CommonLabels, a.Labels)
		n.CommonAnnotations = shared(n.CommonAnnotations, a.Annotations)
	}
	return n
}

// shared keeps in a what b has too.
func shared(a, b map[string]string) map[string]string {
	maps.DeleteFunc(a, func(k, v string) bool { w, ok := b[k]; return !ok || w != v })
	return a
}

func (e *Engine) notified(a Alert) NotifiedAlert {
	out := NotifiedAlert{
		Firing: a.Phase == Firing, Labels: a.Labels.Map(), Annotations: maps.Clone(a.Annotations),
		StartsAt: a.ActiveAt, EndsAt: a.ResolvedAt, Fingerprint: a.Fingerprint,
	}
	if e.o.ExternalURL != "" {
		out.GeneratorURL = e.o.ExternalURL + "/alerts/" + a.Fingerprint
	}
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	return out
}

// escalation is the notification that an alert needs a person.
func (e *Engine) escalation(a Alert, reason string) Notification {
	one := e.notified(a)
	one.Firing, one.EndsAt = true, time.Time{}
	one.Labels[EscalationLabel] = "true"
	one.Annotations[EscalationReason] = reason
	n := e.notification(a.Incident, a.Item, []NotifiedAlert{one})
	n.Key += "/escalation"
	n.Escalation = true
	n.GroupLabels[EscalationLabel] = "true"
	return n
}
