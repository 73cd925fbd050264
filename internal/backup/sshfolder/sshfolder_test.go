package sshfolder_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nocturne/internal/backup"
	"nocturne/internal/backup/sshfolder"
	"nocturne/internal/backup/storetest"
	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/sshconn"
	"nocturne/internal/sshconn/sshdtest"
)

// poolFor logs in to a real sshd.
func poolFor(t *testing.T, s *sshdtest.Server, known []byte) *sshconn.Pool {
	t.Helper()
	keys, err := sshconn.ParseKnownHosts("known_hosts", known)
	if err != nil {
		t.Fatal(err)
	}
	p, err := sshconn.New(sshconn.Options{HostKeys: keys, Credential: func(string) (sshconn.Credential, error) {
		return sshconn.Credential{User: s.User, PrivateKey: secret.Text(s.Key)}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func start(t *testing.T) *sshdtest.Server {
	return sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"), "Subsystem sftp internal-sftp")
}

func open(t *testing.T, p *sshconn.Pool, s *sshdtest.Server, dir string, create bool) (*sshfolder.Store, error) {
	t.Helper()
	c, err := p.Dial(t.Context(), sshconn.Host{Name: "store", Address: s.Address, Credential: "c"})
	if err != nil {
		return nil, err
	}
	return sshfolder.Open(t.Context(), c, dir, "sftp://"+s.Address+dir, create)
}

func TestStore(t *testing.T) {
	s := start(t)
	p, dir := poolFor(t, s, s.KnownHosts()), filepath.Join(t.TempDir(), "a", "b")
	storetest.Run(t, func() backup.Store {
		store, err := open(t, p, s, dir, true)
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*.part")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestFaults: an unknown host key, a folder that is not there, a server without
// SFTP.
func TestFaults(t *testing.T) {
	s := start(t)
	_, err := open(t, poolFor(t, s, nil), s, t.TempDir(), true)
	if e, ok := errors.AsType[*sshconn.Error](err); !ok || e.Class != sshconn.HostKeyUnknown || !strings.Contains(err.Error(), "SHA256:") {
		t.Errorf("an unknown host key: %v", err)
	}
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	if _, err := open(t, poolFor(t, s, s.KnownHosts()), s, nowhere, false); err == nil || !strings.Contains(err.Error(), nowhere) {
		t.Errorf("a folder that is not there: %v", err)
	}
	plain := sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"))
	if _, err := open(t, poolFor(t, plain, plain.KnownHosts()), plain, nowhere, true); err == nil || !strings.Contains(err.Error(), "start SFTP") {
		t.Errorf("a server without SFTP: %v", err)
	}
}

// TestCancelled ends a transfer whose source has stopped giving anything.
func TestCancelled(t *testing.T) {
	s := start(t)
	store, err := open(t, poolFor(t, s, s.KnownHosts()), s, t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Put(t.Context(), "x", 1, strings.NewReader("1")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	r, err := store.Get(ctx, "x")
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if err == nil {
		t.Error("read with a context that had ended")
	}
}
