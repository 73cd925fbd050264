package web

import (
	"context"

	"nocturne/internal/access"
	"nocturne/internal/secret"
)

// addKeys adds what concerns the master key. None of it shows a key.
func (a *apiMux) addKeys() {
	s := a.s
	add(a, op{id: "get-key", method: "GET", path: "/key", tag: "access", summary: "The vault's master key: its id and where it comes from", right: access.Administer}, s.apiKey)
	add(a, op{id: "check-key", method: "POST", path: "/key/check", tag: "access", summary: "Open every sealed credential, and say which do not", right: access.Administer}, s.apiCheckKey)
	add(a, op{id: "rotate-key", method: "POST", path: "/key/rotate", tag: "access", summary: "Seal everything under the next master key, or finish a rotation that was cut short", right: access.Administer}, s.apiRotateKey)
}

func (s *Server) apiKey(context.Context, *struct{}) (*body[access.KeyStatus], error) {
	k, err := s.Access.Vault().Key()
	return reply(k), err
}

func (s *Server) apiCheckKey(context.Context, *struct{}) (*body[access.KeyCheck], error) {
	c, err := s.Access.Vault().Verify()
	return reply(c), err
}

func (s *Server) apiRotateKey(ctx context.Context, in *struct {
	Body struct {
		KeepOld    bool   `json:"keep_old,omitempty" doc:"Leave the earlier key's file beside the new one"`
		Passphrase string `json:"passphrase,omitempty" writeOnly:"true" doc:"The new one, where a person is asked for it"`
	}
}) (*body[access.Rotated], error) {
	r, err := s.rotate(ctx, access.RotateOptions{Keep: in.Body.KeepOld, Passphrase: secret.Text(in.Body.Passphrase)})
	if err != nil {
		return nil, err
	}
	return reply(r), nil
}

// rotate goes on when the client goes away: half a rotation is worth nothing
// to anybody.
func (s *Server) rotate(ctx context.Context, o access.RotateOptions) (access.Rotated, error) {
	r, err := s.Access.Vault().Rotate(context.WithoutCancel(ctx), actorOf(ctx), o)
	if err == nil {
		s.log.InfoContext(ctx, "master key rotated", "from", r.From, "to", r.To, "records", r.Records, "broken", len(r.Broken))
	}
	return r, err
}
