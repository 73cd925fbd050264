package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// askedBackup is what the server's API takes, madeBackup what it answers.
type askedBackup struct {
	To         string `json:"to,omitempty"`
	Credential string `json:"credential,omitempty"`
	Recheck    bool   `json:"recheck,omitempty"`
	WithKey    bool   `json:"with_key,omitempty"`
}

type madeBackup struct {
	Generation  string    `json:"generation"`
	Time        time.Time `json:"time"`
	Files       int       `json:"files"`
	Bytes       int64     `json:"bytes"`
	CopiedFiles int       `json:"copied_files"`
	CopiedBytes int64     `json:"copied_bytes"`
	Records     int       `json:"records"`
	LedgerSeq   uint64    `json:"ledger_seq"`
	LedgerHash  string    `json:"ledger_hash"`
	Seconds     float64   `json:"seconds"`
	WithKey     bool      `json:"with_key"`
	Faults      []string  `json:"faults"`
}

// askedEvery is how often the server is asked how far it is.
const askedEvery = 300 * time.Millisecond

// askServer has the server make a backup, and waits for the outcome.
func askServer(ctx context.Context, api *api, ask askedBackup, show func(done, total int64)) (madeBackup, error) {
	var started struct {
		ID int64 `json:"id"`
	}
	if err := api.call(ctx, http.MethodPost, "/backup", ask, &started); err != nil {
		return madeBackup{}, err
	}
	tick := time.NewTicker(askedEvery)
	defer tick.Stop()
	for {
		var st struct {
			Done  int64 `json:"done_bytes"`
			Total int64 `json:"total_bytes"`
			Asked *struct {
				ID    int64       `json:"id"`
				Done  bool        `json:"done"`
				Made  *madeBackup `json:"made"`
				Error string      `json:"error"`
			} `json:"asked"`
		}
		if err := api.call(ctx, http.MethodGet, "/backup", nil, &st); err != nil {
			return madeBackup{}, fmt.Errorf("%w; the backup goes on without being watched", err)
		}
		switch {
		case st.Asked == nil || st.Asked.ID != started.ID:
			return madeBackup{}, errors.New("the server was restarted, or asked for another backup meanwhile: the outcome is in its ledger")
		case st.Asked.Error != "":
			return madeBackup{}, errors.New(st.Asked.Error)
		case st.Asked.Done && st.Asked.Made != nil:
			return *st.Asked.Made, nil
		}
		show(st.Done, st.Total)
		select {
		case <-ctx.Done():
			return madeBackup{}, fmt.Errorf("%w; the backup goes on without being watched", ctx.Err())
		case <-tick.C:
		}
	}
}
