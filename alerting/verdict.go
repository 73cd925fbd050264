package alerting

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"nocturne/internal/ledger"
)

// Evaluate answers whether the condition of an episode is over, by the alert's
// own rule and series, now. The verdict is Seen only when all series that the
// alert rests on have samples strictly newer than since.
func (e *Engine) Evaluate(ctx context.Context, episode string, since time.Time) (Verdict, error) {
	rec, _, err := e.alerts.Get(episode)
	if err != nil {
		return Verdict{}, fmt.Errorf("evaluate episode: %w", err)
	}
	trueAt := rec.TrueAt
	e.mu.RLock()
	if t := e.active[rec.Alert.Fingerprint]; t != nil && t.rec.Alert.Episode == episode {
		trueAt = t.rec.TrueAt
	}
	r := e.byKey[rec.RuleID]
	e.mu.RUnlock()
	if r == nil {
		return Verdict{Reason: "its rule is not loaded"}, nil
	}
	now := time.Now()
	found, err := e.instances(ctx, r, now)
	if err != nil {
		return Verdict{}, fmt.Errorf("evaluate rule %s: %w", r.name, err)
	}
	fp := rec.Alert.Fingerprint
	in, holds := match(map[string]*tracked{fp: {rec: rec}}, found)[fp]
	s, err := e.look(ctx, r, rec.Series, trueAt, since, now)
	if err != nil {
		return Verdict{}, fmt.Errorf("look for the series of %s: %w", rec.Alert.Labels, err)
	}
	v := Verdict{Cleared: !holds, Seen: s.seen && !s.removed && !s.partly, Value: in.value, Reason: s.reason}
	switch {
	case s.removed || !v.Seen:
	case holds:
		v.Reason = fmt.Sprintf("the rule still holds, with value %g", in.value)
	case v.Reason == "":
		v.Reason = "the rule is false, on samples after " + since.UTC().Format(time.RFC3339)
	}
	return v, nil
}

// Escalate tells every receiver that an episode needs a person. The same
// reason for the same episode is told once.
func (e *Engine) Escalate(_ context.Context, episode, reason string) error {
	a, err := e.Episode(episode)
	if err != nil {
		return fmt.Errorf("escalate: %w", err)
	}
	tr := transition(a, a.Phase)
	tr.To, tr.Reason, tr.At = Escalated, reason, time.Now().UTC().Truncate(time.Millisecond)
	sum := sha256.Sum256([]byte(reason))
	_, fresh, err := e.transitions.AppendUnique(episode+"/"+Escalated+"/"+hex.EncodeToString(sum[:8]), tr)
	if err != nil {
		return fmt.Errorf("escalate %s: %w", a.Labels, err)
	}
	if !fresh { // told, unless a crash came between the log and the ledger
		told, err := e.told(e.o.Ledger.Subject(subject(tr.Item, tr.Fingerprint)), tr, func(t Transition) bool { return t.Reason == reason })
		if err != nil || told {
			return err
		}
	}
	e.signal.send()
	return e.tell(tr)
}

// told tells whether a transition is among entries of the ledger.
func (e *Engine) told(entries iter.Seq2[ledger.Entry, error], tr Transition, same func(Transition) bool) (bool, error) {
	for entry, err := range entries {
		if err != nil {
			return false, err
		}
		var t Transition
		if entry.Kind == ledger.Alert && entry.Action == tr.To && json.Unmarshal(entry.Data, &t) == nil && t.Episode == tr.Episode && same(t) {
			return true, nil
		}
	}
	return false, nil
}
