package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"nocturne/internal/secret"
)

// serverFlags say which server is asked, and as whom.
type serverFlags struct {
	server, tokenFile, caFile string
}

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
func (f *serverFlags) askServer(ctx context.Context, ask askedBackup, show func(done, total int64)) (madeBackup, error) {
	api, err := f.client()
	if err != nil {
		return madeBackup{}, err
	}
	var started struct {
		ID int64 `json:"id"`
	}
	if err := api.call(ctx, http.MethodPost, ask, &started); err != nil {
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
		if err := api.call(ctx, http.MethodGet, nil, &st); err != nil {
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

// backupAPI calls the one path.
type backupAPI struct {
	url   string
	token secret.Text
	http  *http.Client
}

func (f *serverFlags) client() (*backupAPI, error) {
	if f.tokenFile == "" {
		return nil, errors.New("an administrator's token is needed: give it with --token-file")
	}
	token, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("read the token: %w", err)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if f.caFile != "" {
		pem, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificates: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", f.caFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &backupAPI{strings.TrimSuffix(f.server, "/") + "/api/nocturne/v1/backup", secret.Text(strings.TrimSpace(string(token))),
		&http.Client{Transport: t, Timeout: time.Minute}}, nil
}

func (a *backupAPI) call(ctx context.Context, method string, in, out any) error {
	var send io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		send = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url, send)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token.Reveal())
	req.Header.Set("Content-Type", "application/json")
	res, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("ask the server at %s: %w", a.url, err)
	}
	if res.StatusCode >= 300 {
		var p struct {
			Detail string `json:"detail"`
		}
		_ = json.Unmarshal(raw, &p) // what is no problem document has no detail
		return fmt.Errorf("the server at %s answers %s: %s", a.url, res.Status, p.Detail)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the server at %s does not answer as a nocturne does: %w", a.url, err)
	}
	return nil
}
