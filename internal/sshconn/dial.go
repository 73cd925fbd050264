package sshconn

import (
	"context"

	"golang.org/x/crypto/ssh"
)

// Dial opens a connection of the caller's own, who closes it: for what takes
// long and is no command. The credential, the pinned key and the bounds on
// opening are the pool's. The error is always an *Error.
func (p *Pool) Dial(ctx context.Context, h Host) (*ssh.Client, error) {
	cred, err := p.o.Credential(h.Credential)
	if err != nil {
		return nil, fail(h, BadCredential, "credential %q: %w", h.Credential, err)
	}
	l, err := p.signers.login(h.Credential, cred)
	if err != nil {
		return nil, fail(h, BadCredential, "credential %q: %w", h.Credential, err)
	}
	release, err := p.hosts.take(ctx, h.address())
	if err != nil {
		return nil, ended(ctx, h, "wait for another opening to the same address")
	}
	defer release()
	pin, _ := p.o.HostKeys.Lookup(h.address())
	c, err := p.open(ctx, h, l, pin)
	if err != nil {
		return nil, err
	}
	return c.client, nil
}
