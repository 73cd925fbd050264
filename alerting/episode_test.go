package alerting

import (
	"testing"
	"time"
)

// TestEpisodeIsAsFarAsItsRecord stands in the moment between a transition's
// record and its showing, when a reader of the log may ask already: what fires
// must not be called pending, or its remedy is skipped.
func TestEpisodeIsAsFarAsItsRecord(t *testing.T) {
	h := newHouse(t, serviceRules)
	now := time.Now().Add(-time.Minute)
	h.put(now, 0, unit...)
	h.eval(now.Add(time.Second))
	a := h.one()
	if a.Phase != Pending {
		t.Fatalf("got %+v", a)
	}
	if _, _, err := h.e.alerts.Update(a.Episode, func(r *record, _ bool) error {
		r.Alert.Phase = Firing
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := h.e.Episode(a.Episode); err != nil || got.Phase != Firing {
		t.Errorf("the episode is %s, %v; its record says firing", got.Phase, err)
	}
}
