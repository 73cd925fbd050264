package web

import (
	"context"
	"time"

	"nocturne/automation"
	"nocturne/internal/access"
)

// JobJSON is a job without its tasks.
type JobJSON struct {
	ID         string            `json:"id"`
	Runbook    string            `json:"runbook"`
	Title      string            `json:"title"`
	Revision   string            `json:"revision" doc:"Of the runbook as it was then"`
	Parameters map[string]string `json:"parameters"`
	Hosts      []string          `json:"hosts"`
	By         string            `json:"by"`
	Incident   string            `json:"incident,omitempty"`
	Episode    string            `json:"episode,omitempty"`
	Verify     bool              `json:"verify" doc:"The alert's own rule has to prove it"`
	Phase      string            `json:"phase" enum:"queued,running,verifying,succeeded,failed,unknown,canceled"`
	Reason     string            `json:"reason,omitempty"`
	Created    time.Time         `json:"created"`
	Started    *time.Time        `json:"started,omitempty"`
	Ended      *time.Time        `json:"ended,omitempty"`
}

type jobDetail struct {
	JobJSON
	Tasks []taskJSON `json:"tasks"`
}

type taskJSON struct {
	Host   string     `json:"host"`
	Region string     `json:"region"`
	Steps  []stepJSON `json:"steps"`
}

type stepJSON struct {
	Name    string     `json:"name"`
	Phase   string     `json:"phase" enum:"ready,leased,connecting,sent,ok,failed,unknown,skipped"`
	Exit    int        `json:"exit"`
	Started *time.Time `json:"started,omitempty"`
	Ended   *time.Time `json:"ended,omitempty"`
	Error   string     `json:"error,omitempty"`
}

// runbookJSON is what can be run.
type runbookJSON struct {
	Name        string                 `json:"name"`
	Title       string                 `json:"title"`
	Description string                 `json:"description,omitempty"`
	Revision    string                 `json:"revision"`
	Parameters  []automation.Parameter `json:"parameters"`
	Steps       []runbookStep          `json:"steps"`
}

type runbookStep struct {
	Name       string  `json:"name"`
	Shell      string  `json:"shell"`
	Timeout    float64 `json:"timeout_seconds"`
	Idempotent bool    `json:"idempotent"`
}

// addWorking adds runbooks and jobs.
func (a *apiMux) addWorking() {
	s := a.s
	add(a, op{id: "list-runbooks", method: "GET", path: "/runbooks", tag: "jobs", summary: "What can be run", right: access.View}, s.apiRunbooks)
	add(a, op{id: "list-jobs", method: "GET", path: "/jobs", tag: "jobs", summary: "The newest jobs", right: access.View}, s.apiJobs)
	add(a, op{id: "start-job", method: "POST", path: "/jobs", tag: "jobs", summary: "Run a runbook on hosts", right: access.Run, status: 201}, s.apiStartJob)
	add(a, op{id: "get-job", method: "GET", path: "/jobs/{id}", tag: "jobs", summary: "One job with its tasks and steps", right: access.View}, s.apiJob)
	add(a, op{id: "get-job-output", method: "GET", path: "/jobs/{id}/output", tag: "jobs", summary: "What a job's commands printed", right: access.View}, s.apiOutput)
	add(a, op{id: "cancel-job", method: "POST", path: "/jobs/{id}/cancel", tag: "jobs", summary: "Let a job send nothing more", right: access.Run}, s.apiCancelJob)
}

func jobAnswer(j automation.Job) JobJSON {
	return JobJSON{
		ID: j.ID, Runbook: j.Runbook, Title: j.Title, Revision: j.Revision, Parameters: j.Parameters, Hosts: some(j.Hosts), By: j.By,
		Incident: j.Incident, Episode: j.Episode, Verify: j.Verify, Phase: j.Phase, Reason: j.Reason, Created: j.Created,
		Started: when(j.Started), Ended: when(j.Ended),
	}
}

func jobDetailAnswer(j automation.Job) jobDetail {
	out := jobDetail{JobJSON: jobAnswer(j), Tasks: []taskJSON{}}
	for _, t := range j.Tasks {
		task := taskJSON{Host: t.Host, Region: t.Region, Steps: []stepJSON{}}
		for _, st := range t.Steps {
			task.Steps = append(task.Steps, stepJSON{Name: st.Name, Phase: st.Phase, Exit: st.Exit, Started: when(st.Started), Ended: when(st.Ended), Error: st.Err})
		}
		out.Tasks = append(out.Tasks, task)
	}
	return out
}

func (s *Server) apiRunbooks(context.Context, *struct{}) (*body[list[runbookJSON]], error) {
	out := []runbookJSON{}
	for _, rb := range s.Jobs.Runbooks() {
		r := runbookJSON{Name: rb.Name, Title: rb.Title, Description: rb.Description, Revision: rb.Revision, Parameters: some(rb.Parameters), Steps: []runbookStep{}}
		for _, st := range rb.Steps {
			r.Steps = append(r.Steps, runbookStep{Name: st.Name, Shell: st.Shell, Timeout: st.Timeout.Seconds(), Idempotent: st.Idempotent})
		}
		out = append(out, r)
	}
	return reply(list[runbookJSON]{out, len(out)}), nil
}

func (s *Server) apiJobs(_ context.Context, in *struct {
	Cut
	Phase    string `query:"phase" enum:"queued,running,verifying,succeeded,failed,unknown,canceled"`
	Incident string `query:"incident"`
}) (*body[list[JobJSON]], error) {
	var out []JobJSON
	for _, j := range s.Jobs.Jobs(manyJobs) {
		if (in.Phase == "" || j.Phase == in.Phase) && (in.Incident == "" || j.Incident == in.Incident) {
			out = append(out, jobAnswer(j))
		}
	}
	return cutOut(out, in.Cut), nil
}

func (s *Server) apiStartJob(ctx context.Context, in *struct {
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"Chosen by the client: the same key again answers with the job that it started, and starts none"`
	Body struct {
		Runbook    string            `json:"runbook" minLength:"1"`
		Hosts      []string          `json:"hosts" minItems:"1" maxItems:"10000"`
		Parameters map[string]string `json:"parameters,omitempty"`
	}
}) (*body[jobDetail], error) {
	j, err := s.submit(requestOf(ctx), in.Key, in.Body.Runbook, in.Body.Hosts, in.Body.Parameters)
	if err != nil {
		return nil, err
	}
	return reply(jobDetailAnswer(j)), nil
}

// ByJob names a job.
type ByJob struct {
	ID string `path:"id"`
}

func (s *Server) apiJob(_ context.Context, in *ByJob) (*body[jobDetail], error) {
	j, err := s.Jobs.Job(in.ID)
	if err != nil {
		return nil, err
	}
	return reply(jobDetailAnswer(j)), nil
}

func (s *Server) apiOutput(_ context.Context, in *struct {
	ByJob
	From int64 `query:"from" default:"1" minimum:"0" doc:"Number of the first line"`
}) (*body[list[automation.OutputLine]], error) {
	if _, err := s.Jobs.Job(in.ID); err != nil {
		return nil, err
	}
	lines, err := s.Jobs.Output(in.ID, in.From)
	if err != nil {
		return nil, err
	}
	return reply(list[automation.OutputLine]{some(lines), len(lines)}), nil
}

func (s *Server) apiCancelJob(ctx context.Context, in *ByJob) (*body[jobDetail], error) {
	if err := s.Jobs.Cancel(ctx, in.ID, actorOf(ctx).String()); err != nil {
		return nil, err
	}
	return s.apiJob(ctx, in)
}
