package automation

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// Job returns a job with its tasks, or an error that wraps ErrNoJob.
func (x *Executor) Job(id string) (Job, error) {
	r, err := x.rec.job(id)
	if err != nil {
		return Job{}, err
	}
	j := Job{
		Spec: r.Spec, Title: r.Runbook.Title, Revision: r.Runbook.Revision, Phase: r.Phase,
		Created: r.Created, Started: r.Started, Ended: r.Ended, Reason: r.Reason,
	}
	for _, h := range r.Spec.Hosts {
		t, err := x.rec.task(r, h)
		if err != nil {
			return Job{}, err
		}
		j.Tasks = append(j.Tasks, Task{Host: h, Region: r.Regions[h], Steps: t.Steps})
	}
	return j, nil
}

// Jobs returns the jobs submitted last, newest first, at most limit. One that
// cannot be read is logged and left out.
func (x *Executor) Jobs(limit int) []Job {
	var out []Job
	for e, err := range x.rec.order.ReadBack() {
		if len(out) >= limit {
			break
		}
		if err == nil {
			var j Job
			if j, err = x.Job(e.Value); err == nil {
				out = append(out, j)
			}
		}
		if err != nil {
			x.log.Error("job is not readable", "job", e.Value, "err", err)
		}
	}
	return out
}

// Output returns the lines of a job's output from number from on.
func (x *Executor) Output(id string, from int64) ([]OutputLine, error) {
	x.mu.Lock()
	l := x.live[id]
	x.mu.Unlock()
	// The buffer is read first: what is stored meanwhile is then seen twice
	// rather than not at all.
	var out, fresh []OutputLine
	if l != nil {
		fresh = l.out.unstored()
	} else if _, err := x.rec.job(id); err != nil {
		return nil, err
	}
	for rec, err := range x.rec.output.All(id + "/") {
		if err != nil {
			return nil, err
		}
		out = append(out, rec.Value.Lines...)
	}
	for _, line := range fresh {
		if len(out) == 0 || out[len(out)-1].Seq < line.Seq {
			out = append(out, line)
		}
	}
	return slices.DeleteFunc(out, func(l OutputLine) bool { return l.Seq < from }), nil
}

// Watch reports what happens to a job, or to all when id is empty, until ctx
// ends; the channel is then closed. A reader that falls behind loses events and
// is told by one with Resync.
func (x *Executor) Watch(ctx context.Context, id string) <-chan Event { return x.hub.watch(ctx, id) }

// Runbooks returns the runbooks by name.
func (x *Executor) Runbooks() []Runbook {
	x.mu.Lock()
	out := slices.Collect(maps.Values(x.runbooks))
	x.mu.Unlock()
	slices.SortFunc(out, func(a, b Runbook) int { return strings.Compare(a.Name, b.Name) })
	return out
}
