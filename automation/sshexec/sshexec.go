// Package sshexec runs a job's shell steps over SSH: the automation.Runner on
// internal/sshconn's pool, which the collector uses too.
package sshexec

import (
	"context"
	"fmt"

	"nocturne/automation"
	"nocturne/internal/sshconn"
)

// Runner runs commands on hosts.
type Runner struct{ pool *sshconn.Pool }

// New returns a Runner over the pool.
func New(pool *sshconn.Pool) *Runner { return &Runner{pool} }

// Run runs cmd by the host's login shell. Its error unwraps to an
// *sshconn.Error, and its method Sent tells whether the exec request may have
// gone out: true means that nobody knows whether and how far the command ran.
// A timeout stands for everything together, and then silence alone ends no
// command: a step may declare itself long and quiet.
func (r *Runner) Run(ctx context.Context, h automation.Host, region, cmd string, o automation.RunOptions) (exit int, err error) {
	x := sshconn.ExecOptions{Stdout: o.Output, Stderr: o.Output, BeforeSend: o.BeforeSend}
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("the step's %s are over: %w", o.Timeout, context.DeadlineExceeded))
		defer cancel()
		x.Silence, x.Total = o.Timeout, o.Timeout
	}
	return r.pool.Exec(ctx, sshconn.Host{Name: h.Name, Address: h.Address, Credential: h.Credential, Region: region}, cmd, x)
}

var _ automation.Runner = (*Runner)(nil)
