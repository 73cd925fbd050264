package web

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"nocturne/internal/access"
	"nocturne/internal/backup"
)

// addBackup adds the backups of everything.
func (a *apiMux) addBackup() {
	s := a.s
	add(a, op{id: "get-backup", method: "GET", path: "/backup", tag: "backup", summary: "How the backups fare: the last, what runs, when a success is missed", right: access.Administer}, s.apiBackup)
	add(a, op{id: "start-backup", method: "POST", path: "/backup", tag: "backup", summary: "Back up everything now; the outcome is under the answer's number in get-backup", right: access.Administer, status: 201}, s.apiStartBackup)
}

type startedJSON struct {
	ID int64 `json:"id"`
}

// backupsJSON says how the backups fare.
type backupsJSON struct {
	To          string           `json:"to,omitempty" doc:"Where to, when none is named"`
	Running     string           `json:"running,omitempty" enum:"whole,point"`
	Done        int64            `json:"done_bytes" doc:"Of the one that runs"`
	Total       int64            `json:"total_bytes"`
	Last        *backupMadeJSON  `json:"last,omitempty" doc:"The last whole one"`
	LastWhole   *time.Time       `json:"last_whole,omitempty" doc:"Of those that are scheduled"`
	LastPoint   *time.Time       `json:"last_point,omitempty" doc:"Since the start"`
	Late        *time.Time       `json:"late,omitempty" doc:"When a success is missed"`
	LastError   string           `json:"last_error,omitempty" doc:"Of the last try"`
	LastErrorAt *time.Time       `json:"last_error_at,omitempty"`
	Asked       *backupAskedJSON `json:"asked,omitempty" doc:"The last that somebody asked for"`
}

type backupAskedJSON struct {
	ID    int64           `json:"id"`
	Done  bool            `json:"done"`
	Made  *backupMadeJSON `json:"made,omitempty"`
	Error string          `json:"error,omitempty"`
}

type backupMadeJSON struct {
	Generation  string    `json:"generation"`
	Time        time.Time `json:"time"`
	Files       int       `json:"files"`
	Bytes       int64     `json:"bytes"`
	CopiedFiles int       `json:"copied_files"`
	CopiedBytes int64     `json:"copied_bytes"`
	Records     int       `json:"records"`
	LedgerSeq   uint64    `json:"ledger_seq" doc:"The last entry of the ledger that is in it"`
	LedgerHash  string    `json:"ledger_hash"`
	Seconds     float64   `json:"seconds"`
	WithKey     bool      `json:"with_key"`
	Faults      []string  `json:"faults" doc:"Manifests there that could not be read"`
}

func madeOf(r *backup.Report) *backupMadeJSON {
	if r == nil {
		return nil
	}
	return &backupMadeJSON{r.Name, r.Time, r.Files, r.Bytes, r.CopiedFiles, r.CopiedBytes, r.Records, r.Ledger.Seq, r.Ledger.Hash,
		r.Took.Seconds(), r.WithKey, some(r.Faults)}
}

func (s *Server) apiBackup(context.Context, *struct{}) (*body[backupsJSON], error) {
	if s.Backup == nil {
		return nil, notFound{"backup here"}
	}
	b := s.Backup.Status()
	out := backupsJSON{To: b.Place.To, Running: b.Running, Done: b.Done, Total: b.Total, Last: madeOf(b.Last), LastWhole: when(b.LastWhole),
		LastPoint: when(b.LastPoint), Late: when(b.Late), LastError: b.LastError, LastErrorAt: when(b.LastErrorAt)}
	if a := b.Asked; a != nil {
		out.Asked = &backupAskedJSON{a.ID, a.Done, madeOf(a.Report), a.Error}
	}
	return reply(out), nil
}

func (s *Server) apiStartBackup(ctx context.Context, in *struct {
	Body struct {
		To         string `json:"to,omitempty" doc:"A folder of the server, sftp:// or s3:// address; left out: the one that is configured"`
		Credential string `json:"credential,omitempty" doc:"The name of the one that lets us in there"`
		Recheck    bool   `json:"recheck,omitempty" doc:"Read again what is there already"`
		WithKey    bool   `json:"with_key,omitempty" doc:"Take the master key along"`
	}
}) (*body[startedJSON], error) {
	if s.Backup == nil {
		return nil, notFound{"backup here"}
	}
	if to := in.Body.To; to != "" && !strings.Contains(to, "://") && !filepath.IsAbs(to) {
		return nil, invalid{"to: a folder is named by its whole path"}
	}
	id, err := s.Backup.Start(backup.Request{
		Place:   backup.Place{To: in.Body.To, Credential: in.Body.Credential},
		Recheck: in.Body.Recheck, WithKey: in.Body.WithKey, By: actorOf(ctx).String(),
	})
	if err != nil {
		return nil, err
	}
	return reply(startedJSON{id}), nil
}
