package web

import "net/http"

const writePath = "/api/v1/write"

// write hands a remote-write request on, in the name of its token.
func (s *Server) write(w http.ResponseWriter, r *http.Request) error {
	if s.Write == nil {
		return notFound{"way to write samples"}
	}
	s.Write(w, r, actorOf(r.Context()).Name)
	return nil
}
