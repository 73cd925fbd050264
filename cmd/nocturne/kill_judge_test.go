package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

// judge reads what the product left on disk.
type judge struct {
	c     *campaign
	hit   map[string]int    // states that kills hit
	sent  map[string]string // steps that a kill found sent, "job/host/step", and the round
	moves []string          // the transitions so far
}

// remains are the records of one data folder.
type remains struct {
	jobs    map[string]jobLeft
	tasks   map[string]taskLeft // by job/host
	moves   []alerting.Transition
	entries []ledger.Entry // of the ledger, all of them
	graph   *inventory.Graph
}

// What is read of the records of jobs, independently of the code that wrote
// them.
type jobLeft struct {
	Spec   automation.Spec `json:"spec"`
	Phase  string          `json:"phase"`
	Reason string          `json:"reason"`
}

type taskLeft struct {
	Steps []automation.StepState `json:"steps"`
}

// read opens a data folder's state, which must open, and its ledger, which
// must hold. Before anything is opened that mends what it finds, first has a
// look.
func (j *judge) read(dir string, first func(*state.DB)) (out remains) {
	t := j.c.t
	t.Helper()
	db, err := state.Open(state.Options{Dir: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("the state does not open: %v", err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Errorf("close state: %v", err)
		}
	}()
	if d, err := db.Damaged(); err != nil || len(d) > 0 {
		t.Errorf("the state is damaged: %v, %v", d, err)
	}
	if first != nil {
		first(db)
	}
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatalf("the ledger does not open: %v", err)
	}
	if n, err := chain.Verify(t.Context()); err != nil {
		t.Errorf("the ledger does not hold after %d entries: %v", n, err)
	}
	out.jobs, out.tasks = all[jobLeft](t, db, "job"), all[taskLeft](t, db, "job-task")
	moves, err := state.NewLog[alerting.Transition](db, "alert.transition", 1)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range moves.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		out.moves = append(out.moves, e.Value)
	}
	for e, err := range chain.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		out.entries = append(out.entries, e)
	}
	if out.graph, err = inventory.Open(db); err != nil {
		t.Fatalf("the inventory does not open: %v", err)
	}
	return out
}

func all[T any](t *testing.T, db *state.DB, kind string) map[string]T {
	t.Helper()
	out := map[string]T{}
	for rec, err := range state.NewTable[T](db, kind, 1).All("") {
		if err != nil {
			t.Fatal(err)
		}
		out[rec.ID] = rec.Value
	}
	return out
}

// corpse looks at a copy of what a kill left, so that the next child is the
// first to open the folder itself. It returns what the kill hit.
func (j *judge) corpse(round int) map[string]int {
	t := j.c.t
	t.Helper()
	dir, err := os.MkdirTemp(j.c.dir, "corpse-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(filepath.Join(dir, "state"), os.DirFS(filepath.Join(j.c.data(), "state"))); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	left := j.read(dir, func(db *state.DB) { j.c.imports.moments(t, db, found) })
	j.c.backups.moments(j.c.data(), found)
	j.history(found)
	for id, job := range left.jobs {
		if job.Phase == automation.JobVerifying {
			found[automation.JobVerifying]++
		}
		if automation.JobEnded(job.Phase) {
			continue
		}
		by := ""
		if job.Spec.Episode == "" {
			by = "by hand: "
		}
		for _, host := range job.Spec.Hosts {
			for _, s := range left.tasks[id+"/"+host].Steps {
				switch s.Phase {
				case automation.StepLeased, automation.StepConnecting, automation.StepSent:
					found[by+s.Phase]++
				}
				if s.Phase == automation.StepSent && s.Name == "restart" {
					found[job.Spec.Runbook+" sent"]++
				}
				if s.Phase == automation.StepSent && s.Name == "restart" && job.Spec.Runbook == "restart-service" {
					j.sent[id+"/"+host] = fmt.Sprintf("in round %d", round)
				}
			}
		}
	}
	t.Logf("round %d: the kill hit %v; %d jobs, %d transitions, %d entries so far", round, found, len(left.jobs), len(left.moves), len(left.entries))
	j.holds(left)
	j.c.backups.holds()
	return found
}

// holds wants all that was acknowledged in what is left.
func (j *judge) holds(left remains) {
	j.c.t.Helper()
	j.kept(left.moves)
	j.c.imports.holds(left.graph)
	j.c.records.holds(left)
	j.c.work.holds(left)
}

// history counts what a kill left half written of blocks and of rollups.
func (j *judge) history(hit map[string]int) {
	for _, pattern := range []string{"*.tmp*", "*/*.tmp*", "*/*-tmp*"} {
		half, err := filepath.Glob(filepath.Join(j.c.data(), "history", pattern))
		if err != nil {
			j.c.t.Error(err)
		}
		if len(half) > 0 {
			hit["history being written out"]++
		}
	}
}

// kept wants every transition of the kills before, unchanged and in order.
func (j *judge) kept(moves []alerting.Transition) {
	t := j.c.t
	t.Helper()
	now := make([]string, len(moves))
	for i, m := range moves {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		now[i] = string(b)
	}
	if len(now) < len(j.moves) || !slices.Equal(now[:len(j.moves)], j.moves) {
		t.Errorf("the record of alerts changed: %d transitions before, %d now", len(j.moves), len(now))
	}
	j.moves = now
}

// verdict judges the folder of a product that ended in order.
func (j *judge) verdict() {
	left := j.read(j.c.data(), nil)
	j.holds(left)
	j.c.work.verdict(left)
	j.c.backups.verdict(j)
	episodes := j.episodes(left.moves)
	j.jobsOf(left, episodes)
	j.commands(left)
	j.unknowns(left)
	j.samples()
	for _, v := range j.c.open() {
		t := j.c.t
		t.Errorf("the webhook was told neither the end of %v nor that it needs a person", v)
		for _, m := range left.moves {
			if m.Labels.Get("instance") == v.host && m.Labels.Get("name") == v.unit {
				t.Logf("%s %s: %s -> %s %s", m.At.Format(time.TimeOnly), m.Episode, m.From, m.To, m.Reason)
			}
		}
		for id, job := range left.jobs {
			if slices.Contains(job.Spec.Hosts, v.host) && job.Spec.Parameters["service"] == v.unit {
				t.Logf("%s: %s %s %+v", id, job.Phase, job.Reason, left.tasks[id+"/"+v.host].Steps)
			}
		}
	}
}

// episodes wants one episode of each victim, which fired, and that of whatever
// the webhook was told there is a record.
func (j *judge) episodes(moves []alerting.Transition) map[victim]string {
	t := j.c.t
	fired := map[victim]string{}
	now := map[victim]string{}
	for _, m := range moves {
		v := victim{m.Labels.Get("instance"), m.Labels.Get("name")}
		if m.Rule != "ServiceFailed" {
			continue
		}
		if before, ok := fired[v]; ok && before != m.Episode {
			t.Errorf("%v has two episodes, %s and %s, of one fault", v, before, m.Episode)
		}
		if m.To == alerting.Firing {
			fired[v] = m.Episode
		}
		if m.To != alerting.Escalated {
			now[v] = m.To
		}
	}
	for _, v := range j.c.hurt {
		if fired[v] == "" {
			t.Errorf("%v failed, and no alert fired", v)
		}
		s, err := j.c.lab.ServiceState(v.host, v.unit)
		if want := map[bool]string{true: alerting.Resolved, false: alerting.Firing}[s == "active"]; err != nil || now[v] != want && now[v] != alerting.Firing {
			t.Errorf("%v is %s, its alert is %s", v, s, now[v])
		}
	}
	for v := range j.c.told(false) {
		if fired[v] == "" {
			t.Errorf("the webhook was told of %v, and nothing of it is recorded", v)
		}
	}
	return fired
}

// jobsOf wants exactly one job, ended, of each episode.
func (j *judge) jobsOf(left remains, episodes map[victim]string) {
	t := j.c.t
	jobs, phases := map[string]int{}, map[string]int{}
	for id, job := range left.jobs {
		jobs[job.Spec.Episode]++
		phases[job.Phase]++
		if !automation.JobEnded(job.Phase) {
			t.Errorf("job %s is %s", id, job.Phase)
		}
	}
	for v, e := range episodes {
		if jobs[e] != 1 {
			t.Errorf("episode %s of %v has %d jobs, want 1", e, v, jobs[e])
		}
	}
	t.Logf("%d faults, %d episodes, jobs by phase: %v", len(j.c.hurt), len(episodes), phases)
}

// commands holds what the hall really began against what the jobs say.
func (j *judge) commands(left remains) {
	t := j.c.t
	said := map[victim]automation.StepState{}
	for id, job := range left.jobs {
		for _, host := range job.Spec.Hosts {
			for _, s := range left.tasks[id+"/"+host].Steps {
				if s.Name == "restart" {
					said[victim{host, job.Spec.Parameters["service"]}] = s
				}
			}
		}
	}
	kinds := map[string]int{}
	for v, n := range j.c.starts() {
		s, kind := said[v], repeats[v.unit]
		kinds[kind]++
		// What is begun here takes effect: with a probe it is not begun again, though
		// it may be sent again, where the first did not arrive.
		if kind != "restart-again" && n > 1 || kind == "" && s.Attempts > 1 || n > s.Attempts {
			t.Errorf("the restart of %v (%s) was begun %d times and sent %d times: %+v", v, kind, n, s.Attempts, s)
		}
		if s.Phase == automation.StepOK && n == 0 {
			t.Errorf("the restart of %v is ok, and was never begun", v)
		}
	}
	t.Logf("victims by the runbook that may repeat their restart: %v", kinds)
}

// unknowns wants what was sent at a kill to be unknown, and told to a person.
func (j *judge) unknowns(left remains) {
	t := j.c.t
	escalated := j.c.told(true)
	for task, when := range j.sent {
		id := filepath.Dir(task)
		host, job := filepath.Base(task), left.jobs[id]
		s := left.tasks[task].Steps[0]
		if s.Phase != automation.StepUnknown || job.Phase != automation.JobUnknown {
			t.Errorf("the restart of job %s was sent at the kill %s; it is %s now, the job %s; want unknown", id, when, s.Phase, job.Phase)
		}
		if v := (victim{host, job.Spec.Parameters["service"]}); !escalated[v] {
			t.Errorf("nobody knows whether %v was restarted, and nobody was told", v)
		}
	}
	for id, job := range left.jobs {
		if job.Phase == automation.JobUnknown && job.Spec.Episode != "" && !escalated[victim{job.Spec.Hosts[0], job.Spec.Parameters["service"]}] {
			t.Errorf("job %s is unknown, and nobody was told", id)
		}
	}
}
