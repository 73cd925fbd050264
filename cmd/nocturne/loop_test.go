package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/lab"
	"nocturne/internal/need"
)

// fault breaks a service at random and returns where, with the alert's episode.
func (h *hall) fault(t *testing.T) (host, unit string, a alerting.Alert) {
	t.Helper()
	_, r := need.Seed(t)
	hosts := h.lab.Hosts()
	victim := hosts[r.IntN(len(hosts))]
	host, unit = victim.Name, victim.Services[r.IntN(len(victim.Services))]
	t.Logf("%s of %s dies", unit, host)
	if err := h.lab.StopService(host, unit); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the alert fires", func() bool {
		var ok bool
		a, ok = h.alertOn(host, unit)
		return ok && a.Phase == alerting.Firing
	})
	return host, unit, a
}

func (h *hall) ended(t *testing.T, episode string) automation.Job {
	t.Helper()
	var j automation.Job
	eventually(t, 60*time.Second, "the job ends", func() bool {
		var ok bool
		j, ok = h.jobOf(episode)
		return ok && automation.JobEnded(j.Phase)
	})
	return j
}

// actions are what the ledger tells of an incident, in order.
func (h *hall) actions(t *testing.T, incident string) []string {
	t.Helper()
	var out []string
	for e, err := range h.ledger.Incident(incident) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Action)
	}
	return out
}

// inOrder wants each action somewhere after the one before it.
func inOrder(t *testing.T, got []string, want ...string) {
	t.Helper()
	at := 0
	for _, w := range want {
		i := slices.Index(got[at:], w)
		if i < 0 {
			t.Fatalf("no %q after %q in %q", w, got[:at], got)
		}
		at += i + 1
	}
}

func TestLoopCloses(t *testing.T) {
	h := startHall(t, lab.Options{})
	h.settled(t)
	begin := time.Now()
	host, unit, a := h.fault(t)
	j := h.ended(t, a.Episode)
	if j.Phase != automation.JobSucceeded {
		t.Fatalf("job %s: %s", j.Phase, j.Reason)
	}
	eventually(t, 30*time.Second, "the alert resolves", func() bool {
		e, err := h.alerts.Episode(a.Episode)
		return err == nil && e.Phase == alerting.Resolved
	})
	took := time.Since(begin)
	t.Logf("from fault to closed loop: %v", took.Round(100*time.Millisecond))
	if took > 60*time.Second {
		t.Errorf("the loop took %v, more than a minute", took)
	}
	if s, _ := h.lab.ServiceState(host, unit); s != "active" {
		t.Errorf("the lab says that %s is %s", unit, s)
	}
	if n := restarts(h.lab, host, unit); n != 1 {
		t.Errorf("the lab's journal has %d restarts, want 1", n)
	}
	if a.Incident == "" || j.Incident != a.Incident {
		t.Errorf("the alert is of incident %q, the job of %q", a.Incident, j.Incident)
	}
	eventually(t, 10*time.Second, "the incident closes", func() bool {
		in, err := h.alerts.Incident(a.Incident)
		return err == nil && !in.Closed.IsZero()
	})
	inOrder(t, h.actions(t, a.Incident), "firing", "remedy.planned", "job.queued", "step.sent", "step.ok", "job.verifying", "job.succeeded", "resolved")
	if n, err := h.ledger.Verify(t.Context()); err != nil {
		t.Errorf("ledger after %d entries: %v", n, err)
	}
	eventually(t, 10*time.Second, "the webhook is told of both", func() bool {
		told := map[string]bool{}
		h.hook.any(func(status string, ls, _ map[string]string) bool {
			told[status] = told[status] || ls["instance"] == host && ls["alertname"] == "ServiceFailed"
			return false
		})
		return told["firing"] && told["resolved"]
	})
}

// TestBrokenRemedyEscalates has systemctl fail, or lie: the lab's state alone
// decides the sample, so neither may be taken for a repair.
func TestBrokenRemedyEscalates(t *testing.T) {
	whole(t)
	for name, mode := range map[string]lab.RemedyMode{"fails": lab.RemedyFails, "lies": lab.RemedyLies} {
		t.Run(name, func(t *testing.T) {
			h := startHall(t, lab.Options{Racks: 2, Hosts: 6}, func(c *Config) { shortProof(t, c) })
			h.settled(t)
			h.lab.BreakRemedy(mode)
			host, unit, a := h.fault(t)
			j := h.ended(t, a.Episode)
			if j.Phase != automation.JobFailed || j.Reason == "" {
				t.Errorf("job %s, reason %q; want failed with one", j.Phase, j.Reason)
			}
			eventually(t, 20*time.Second, "the webhook is told of the escalation", func() bool {
				return h.hook.any(func(_ string, ls, _ map[string]string) bool {
					return ls["instance"] == host && ls["escalation"] == "true"
				})
			})
			if e, err := h.alerts.Episode(a.Episode); err != nil || e.Phase != alerting.Firing {
				t.Errorf("the alert is %s, %v; want firing", e.Phase, err)
			}
			// Several evaluations later it has still been tried once.
			polls := h.pollsOf(host)
			eventually(t, 40*time.Second, "three more polls", func() bool { return h.pollsOf(host) >= polls+3 })
			if n := restarts(h.lab, host, unit); n != 1 {
				t.Errorf("the lab's journal has %d restarts, want 1", n)
			}
			if got := h.actions(t, a.Incident); slices.ContainsFunc(got, func(s string) bool { return s == "resolved" || strings.HasSuffix(s, "succeeded") }) {
				t.Errorf("the record claims a repair: %q", got)
			}
		})
	}
}

func (h *hall) pollsOf(name string) uint64 {
	for _, s := range h.collector.Status() {
		if s.Target.Name == name {
			return s.Polls
		}
	}
	return 0
}

// TestOneIncidentAHost has two services of one host fail: one incident holds
// both, and each has its own job.
func TestOneIncidentAHost(t *testing.T) {
	whole(t)
	h := startHall(t, lab.Options{Racks: 2, Hosts: 6})
	h.settled(t)
	victim := h.lab.Hosts()[0]
	for _, unit := range victim.Services {
		if err := h.lab.StopService(victim.Name, unit); err != nil {
			t.Fatal(err)
		}
	}
	incidents, episodes := map[string]bool{}, map[string]bool{}
	eventually(t, 30*time.Second, "both alerts fire", func() bool {
		for _, unit := range victim.Services {
			if a, ok := h.alertOn(victim.Name, unit); ok && a.Phase == alerting.Firing {
				incidents[a.Incident], episodes[a.Episode] = true, true
			}
		}
		return len(episodes) == len(victim.Services)
	})
	if len(incidents) != 1 {
		t.Errorf("%d incidents of one host at one time, want 1", len(incidents))
	}
	for episode := range episodes {
		if j := h.ended(t, episode); j.Phase != automation.JobSucceeded {
			t.Errorf("job %s: %s", j.Phase, j.Reason)
		}
	}
	for _, unit := range victim.Services {
		if n := restarts(h.lab, victim.Name, unit); n != 1 {
			t.Errorf("%s was restarted %d times, want 1", unit, n)
		}
	}
}
