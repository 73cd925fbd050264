package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nocturne/internal/need"
)

// TestSelfSigned makes one, has openssl read it, and starts again with it.
func TestSelfSigned(t *testing.T) {
	openssl := need.Binary(t, "openssl", "openssl")
	dir := filepath.Join(t.TempDir(), "data", "tls")
	o := Options{Kind: SelfSigned, Dir: dir, Names: []string{"noc.example", "192.0.2.1"}}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	path, st := filepath.Join(dir, "self-signed.pem"), s.Status()
	for name, mode := range map[string]os.FileMode{path: 0o600, dir: 0o700 | os.ModeDir} {
		if i, err := os.Stat(name); err != nil || i.Mode() != mode {
			t.Errorf("%s has mode %v, %v", name, i.Mode(), err)
		}
	}
	said, err := exec.Command(openssl, "x509", "-in", path, "-noout", "-fingerprint", "-sha256", "-ext", "subjectAltName").CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, said)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ingerprint=" + st.Fingerprint + "\n", "DNS:noc.example", "IP Address:192.0.2.1", "DNS:localhost", "IP Address:127.0.0.1", "DNS:" + strings.ToLower(hostname)} {
		if !strings.Contains(string(said), want) {
			t.Errorf("openssl says %s, want %q in it", said, want)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := firstCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	address := running(t, s)
	for _, name := range []string{"noc.example", "localhost", "127.0.0.1", "192.0.2.1"} {
		if _, err := served(t, address, name, roots); err != nil {
			t.Errorf("who trusts it does not believe it for %s: %v", name, err)
		}
	}
	if _, err := served(t, address, "noc.example", nil); err == nil {
		t.Error("who does not trust it believes it")
	}

	again, err := New(o)
	if err != nil || again.Status().Fingerprint != st.Fingerprint {
		t.Errorf("at the second start it is %+v, %v", again.Status(), err)
	}
	o.Host = "watch.example"
	other, err := New(o)
	if err != nil || other.Status().Fingerprint == st.Fingerprint || other.now.Load().Leaf.VerifyHostname("watch.example") != nil {
		t.Errorf("with another name to have it is %+v, %v", other.Status(), err)
	}
	put(t, path, text[:len(text)/2])
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("of a cut file it says %v", err)
	}
	if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, text[:len(text)/2]) {
		t.Errorf("the cut file was replaced: %v", err)
	}
}

// TestSelfSignedIsRenewed lives through three years: what is served is valid on
// each day, and is what a start would find on the disk.
func TestSelfSignedIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, err := New(Options{Kind: SelfSigned, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		seen := map[string]bool{}
		for range 3 * 365 {
			time.Sleep(24 * time.Hour) // the bubble's clock
			synctest.Wait()
			c, err := s.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			stored, err := readOwn(filepath.Join(dir, "self-signed.pem"))
			if err != nil || !stored.Leaf.Equal(c.Leaf) {
				t.Fatalf("what is served is not what is stored: %v", err)
			}
			if now := time.Now(); now.Before(c.Leaf.NotBefore) || now.Add(29*24*time.Hour).After(c.Leaf.NotAfter) {
				t.Fatalf("on %s a certificate of %s to %s is served", now, c.Leaf.NotBefore, c.Leaf.NotAfter)
			}
			seen[s.Status().Fingerprint] = true
		}
		if len(seen) != 3 {
			t.Errorf("%d certificates in three years", len(seen))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
