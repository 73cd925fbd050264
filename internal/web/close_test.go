package web

import (
	"context"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"nocturne/alerting"
	"nocturne/tsdb"
)

// TestStaleAlertIsClosed lets a host fall silent while its service is failed:
// the alert keeps firing until a person closes it.
func TestStaleAlertIsClosed(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	r.world.failed.Store(true)
	var a alerting.Alert
	firing := func() bool {
		all := r.Alerts.Alerts()
		if len(all) == 1 {
			a = all[0]
		}
		return len(all) == 1 && a.Phase == alerting.Firing
	}
	r.until("the alert fires", firing)
	path := apiRoot + "/alerts/" + a.Fingerprint
	if _, page := r.ask(r.admin, "GET", alertHref(a), nil); strings.Contains(page, "Close the alert") {
		t.Error("an alert that is seen can be closed")
	}
	r.world.deaf.Store(true)
	gone := labels.NewBuilder(a.Labels).Set("__name__", "node_systemd_unit_state").Del("alertname", "severity").Labels()
	r.until("the alert is stale", func() bool {
		// What the host said last ends here rather than after five minutes.
		sample := tsdb.Sample{Labels: gone, T: time.Now().UnixMilli(), V: math.Float64frombits(value.StaleNaN)}
		if _, err := r.History.Append(context.Background(), []tsdb.Sample{sample}); err != nil {
			t.Fatal(err)
		}
		return firing() && a.Stale
	})
	if _, page := r.ask(r.admin, "GET", alertHref(a), nil); !strings.Contains(page, "Close the alert") {
		t.Error("a stale alert cannot be closed on its page")
	}
	if _, page := r.ask(r.viewer, "GET", alertHref(a), nil); strings.Contains(page, "Close the alert") {
		t.Error("a viewer is offered to close an alert")
	}
	if status, _ := r.ask(r.viewer, "POST", path+"/close", map[string]string{}); status != http.StatusForbidden {
		t.Errorf("a viewer closing it: %d", status)
	}
	if got := take[alertJSON](r, "POST", strings.TrimPrefix(path, apiRoot)+"/close", map[string]string{"note": "scrapped"}); got.Phase != alerting.Resolved {
		t.Errorf("closed: %+v", got)
	}
	past, err := r.Alerts.Resolved(time.Now().Add(-time.Minute))
	if err != nil || len(past) != 1 || !strings.Contains(past[0].Reason, "closed by token:robot: scrapped") || len(r.Alerts.Alerts()) != 0 {
		t.Errorf("resolved: %+v, %v", past, err)
	}
}
