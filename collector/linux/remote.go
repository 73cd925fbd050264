package linux

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"nocturne/collector"
	"nocturne/internal/sshconn"
)

// maxOutput bounds what a host may say in a poll: about 30 times what a large
// one does.
const maxOutput = 8 << 20

// Remote polls hosts over SSH: Target.Address is host:port, Target.Credential
// a name the pool knows.
type Remote struct {
	pool   *sshconn.Pool
	region func(t collector.Target) string
}

// New returns the Source of kind "linux". Hosts of one site share a region's
// opening bounds.
func New(pool *sshconn.Pool) *Remote {
	return &Remote{pool: pool, region: func(t collector.Target) string { return t.Site }}
}

// Regions says instead which region's opening bounds an address has, so that
// whoever acts on the hosts shares them.
func (r *Remote) Regions(of func(address string) string) *Remote {
	r.region = func(t collector.Target) string { return of(t.Address) }
	return r
}

// Poll runs Script on the target. When the host falls silent in the middle,
// the sections complete by then are a partial result.
func (r *Remote) Poll(ctx context.Context, t collector.Target) (collector.Result, error) {
	var out bytes.Buffer
	o := sshconn.ExecOptions{Stdout: &out, MaxOutput: maxOutput}
	if end, ok := ctx.Deadline(); ok {
		left := time.Until(end)
		o.Total = max(left-left/10, time.Millisecond) // so that what came can still be told
		o.Silence = o.Total
	}
	h := sshconn.Host{Name: t.Name, Address: t.Address, Credential: t.Credential, Region: r.region(t)}
	exit, err := r.pool.Exec(ctx, h, Script, o)
	sections := split(out.Bytes())
	if _, ended := sections["end"]; err == nil && !ended {
		err = fmt.Errorf("the script did not reach its end, exit status %d", exit)
	}
	if err != nil && len(sections) == 0 {
		return collector.Result{}, fmt.Errorf("poll %s: %w", t.Name, err)
	}
	res := read(t, sections)
	if err != nil {
		res.Partial = append(res.Partial, fmt.Errorf("poll %s: %w", t.Name, err))
	}
	return res, nil
}
