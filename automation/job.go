package automation

import (
	"context"
	"io"
	"time"
)

// Spec asks for a job.
type Spec struct {
	ID         string            `json:"id"` // chosen by who asks; the same ID is the same job
	Runbook    string            `json:"runbook"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Hosts      []string          `json:"hosts"`
	By         string            `json:"by"` // an actor of the ledger: person:NAME, remedy:NAME, ...
	Incident   string            `json:"incident,omitempty"`
	Episode    string            `json:"episode,omitempty"`
	Verify     bool              `json:"verify,omitempty"` // success ends in verifying, until Conclude
}

// The phases of a job.
const (
	JobQueued    = "queued"
	JobRunning   = "running"
	JobVerifying = "verifying" // all steps ok; whoever submitted it proves the effect
	JobSucceeded = "succeeded"
	JobFailed    = "failed"
	JobUnknown   = "unknown" // of at least one step nobody knows whether it ran
	JobCanceled  = "canceled"
)

// JobEnded tells whether a job in this phase changes no more.
func JobEnded(phase string) bool {
	switch phase {
	case JobSucceeded, JobFailed, JobUnknown, JobCanceled:
		return true
	}
	return false
}

// The phases of a step.
const (
	StepReady      = "ready"
	StepLeased     = "leased"
	StepConnecting = "connecting"
	StepSent       = "sent" // durable before the command leaves
	StepOK         = "ok"
	StepFailed     = "failed"
	StepUnknown    = "unknown"
	StepSkipped    = "skipped" // an earlier step did not succeed, or the job was canceled
)

// StepEnded tells whether a step in this phase changes no more.
func StepEnded(phase string) bool {
	switch phase {
	case StepOK, StepFailed, StepUnknown, StepSkipped:
		return true
	}
	return false
}

// Job is one runbook run on some hosts.
type Job struct {
	Spec
	Title    string    `json:"title"`
	Revision string    `json:"revision"` // of the runbook as it was when submitted
	Phase    string    `json:"phase"`
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Reason   string    `json:"reason,omitempty"` // why it ended so, for people
	Tasks    []Task    `json:"tasks"`
}

// Task is a job's part on one host.
type Task struct {
	Host   string      `json:"host"`
	Region string      `json:"region"`
	Steps  []StepState `json:"steps"`
}

// StepState is how far one step of one task is.
type StepState struct {
	Name        string      `json:"name"`
	Phase       string      `json:"phase"`
	Token       string      `json:"token,omitempty"` // of the lease under which it was last worked on
	Attempts    int         `json:"attempts"`        // how often the command may have been sent
	Connects    int         `json:"connects"`        // how often connecting was begun
	Exit        int         `json:"exit"`            // meaningful in ok and failed, when Err is empty
	Started     time.Time   `json:"started,omitzero"`
	Sent        time.Time   `json:"sent,omitzero"` // when the command was last sent
	Ended       time.Time   `json:"ended,omitzero"`
	Err         string      `json:"err,omitempty"`
	OutputBytes int64       `json:"outputBytes"`
	OutputSHA   string      `json:"outputSha256,omitempty"` // of all its output, also what was not kept
	Probe       *ProbeState `json:"probe,omitempty"`
}

// ProbeState is the record of the probe of a step whose outcome was unknown.
type ProbeState struct {
	Phase string    `json:"phase"` // ready connecting sent ok (it took effect) failed (it did not) unknown
	Tries int       `json:"tries"`
	Exit  int       `json:"exit"`
	At    time.Time `json:"at"`
	Err   string    `json:"err,omitempty"`
}

// Host is a machine that steps run on.
type Host struct {
	Name       string
	Address    string // ip:port
	Credential string // name of the credential in the vault
}

// RunOptions says how a Runner runs one command.
type RunOptions struct {
	// BeforeSend is called when the connection and its session stand, just
	// before the request that starts the command. When it returns an error the
	// command must not be sent, and Run returns that error, wrapped or not.
	BeforeSend func(ctx context.Context) error
	Output     io.Writer     // standard output and error, as they arrive
	Timeout    time.Duration // of everything together
}

// Runner runs one command on one host and returns its exit status. err is nil
// when there is a status, whatever it is.
//
// An error may have the method Sent() bool: false says for certain that the
// command did not leave. It is believed only while BeforeSend was not called.
// It may have the method Retryable() bool: true says that trying to connect
// once more makes sense. It may have the method Reach() (answered, tried bool):
// whether the host answered, though not as wished, and whether it was tried at
// all; without it the host was tried and did not answer.
type Runner interface {
	Run(ctx context.Context, h Host, region, cmd string, o RunOptions) (exit int, err error)
}

// Entry is one thing that could be done next.
type Entry struct {
	Job    string `json:"job"`
	Host   string `json:"host"`
	Region string `json:"region"`
}

// Delivery is an entry that Claim gave out, with what Ack wants to hear.
type Delivery struct {
	Entry
	Receipt string
}

// Queue holds entries by region until they are acknowledged. It is a hint: it
// may deliver an entry twice, or late, and does deliver each at least once, also
// after a restart.
type Queue interface {
	// Enqueue is durable on return.
	Enqueue(ctx context.Context, entries ...Entry) error
	// Claim returns up to limit entries of a region that are not claimed by
	// this process, oldest first.
	Claim(ctx context.Context, region string, limit int) ([]Delivery, error)
	// Ack removes entries; one that is gone already is no error.
	Ack(ctx context.Context, receipts ...string) error
}

// OutputLine is one line of a job's output. Seq counts from 1 within the job.
type OutputLine struct {
	Seq  int64     `json:"seq"`
	At   time.Time `json:"at"`
	Host string    `json:"host"`
	Step string    `json:"step"`
	Text string    `json:"text"`
}

// Event is something that happened to a job: its phase, one step's phase, or a
// line of output.
type Event struct {
	Job       string
	Phase     string // of the job, in every event
	Host      string // with StepPhase
	Step      string
	StepPhase string
	Line      *OutputLine
	Resync    bool // the reader fell behind and missed events: read the job anew
}
