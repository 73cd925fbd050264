package alerting

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// number is a sample's value in a record. JSON has no NaN and no infinity, so
// it is written as Prometheus writes it: a string.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	return json.Marshal(strconv.FormatFloat(float64(n), 'g', -1, 64))
}

func (n *number) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read a sample's value: %w", err)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return fmt.Errorf("read a sample's value: %w", err)
	}
	*n = number(f)
	return nil
}

type plainTransition Transition // without the methods

type transitionJSON struct {
	plainTransition
	Value number `json:"value"`
}

// MarshalJSON writes Value as a string: it may be NaN.
func (t Transition) MarshalJSON() ([]byte, error) {
	return json.Marshal(transitionJSON{plainTransition(t), number(t.Value)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Transition) UnmarshalJSON(b []byte) error {
	var j transitionJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*t = Transition(j.plainTransition)
	t.Value = float64(j.Value)
	return nil
}

type plainAlert Alert // without the methods

type alertJSON struct {
	plainAlert
	Value number `json:"value"`
}

// MarshalJSON writes Value as a string: it may be NaN.
func (a Alert) MarshalJSON() ([]byte, error) {
	return json.Marshal(alertJSON{plainAlert(a), number(a.Value)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *Alert) UnmarshalJSON(b []byte) error {
	var j alertJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*a = Alert(j.plainAlert)
	a.Value = float64(j.Value)
	return nil
}
