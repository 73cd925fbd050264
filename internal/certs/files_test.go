package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/internal/need"
)

// issuer makes certificates as a company's own authority would.
type issuer struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{t: t, n: 1}
	i.key = i.newKey()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a company"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, i.key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) newKey() *ecdsa.PrivateKey {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	return key
}

func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func (i *issuer) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(i.cert)
	return p
}

// issue returns a certificate and its key in PEM.
func (i *issuer) issue(from, to time.Time, names ...string) (cert, key []byte) {
	i.t.Helper()
	i.n++
	c := &x509.Certificate{SerialNumber: big.NewInt(i.n), NotBefore: from, NotAfter: to, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if len(names) > 0 {
		c.Subject.CommonName = names[0]
	}
	if ip := net.ParseIP(names[0]); ip != nil {
		c.DNSNames, c.IPAddresses = nil, []net.IP{ip}
	}
	k := i.newKey()
	der, err := x509.CreateCertificate(rand.Reader, c, i.cert, k.Public(), i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		i.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd})
}

// good is a certificate of today.
func (i *issuer) good(names ...string) (cert, key []byte) {
	i.t.Helper()
	return i.issue(time.Now().Add(-time.Hour), time.Now().AddDate(0, 3, 0), names...)
}

// put replaces a file as tools do, by rename.
func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+"~", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running starts a source, and a TLS listener that uses it.
func running(t *testing.T, s *Source) (address string) {
	t.Helper()
	return runningOn(t, s, "127.0.0.1:0")
}

func runningOn(t *testing.T, s *Source, at string) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", at, s.TLSConfig(tls.VersionTLS12))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.(*tls.Conn).HandshakeContext(ctx)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// served is the leaf that a new connection gets.
func served(t testing.TB, address, name string, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, &tls.Config{ServerName: name, RootCAs: roots})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

func serialOf(t testing.TB, certPEM []byte) *big.Int {
	t.Helper()
	c, err := firstCertificate(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	return c.SerialNumber
}

// TestFilesAreReloaded replaces the files in the ways of certbot, of a copy in
// two steps and of Kubernetes, while clients connect; then with what is no good.
func TestFilesAreReloaded(t *testing.T) {
	i, dir := newIssuer(t), t.TempDir()
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for _, d := range []string{first, second} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "data")
	if err := os.Symlink(first, link); err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(link, "tls.crt"), filepath.Join(link, "tls.key")
	cert, key := i.good("noc.example")
	put(t, certFile, cert)
	put(t, keyFile, key)
	var log lines
	s, err := New(Options{Kind: Files, CertFile: certFile, KeyFile: keyFile, Host: "noc.example", Every: 10 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	address := running(t, s)
	serves := func(what string, cert []byte) {
		t.Helper()
		want := serialOf(t, cert)
		need.Within(t, 10*time.Second, func() error {
			leaf, err := served(t, address, "noc.example", i.pool())
			if err != nil {
				t.Fatalf("%s: a client is refused: %v", what, err)
			}
			if leaf.SerialNumber.Cmp(want) != 0 {
				return fmt.Errorf("%s: certificate %s is served, not %s", what, leaf.SerialNumber, want)
			}
			return nil
		})
	}
	serves("at the start", cert)
	cert, key = i.good("noc.example")
	put(t, certFile, cert)
	put(t, keyFile, key)
	serves("after both files were replaced", cert)
	cert, key = i.good("noc.example")
	put(t, filepath.Join(second, "tls.crt"), cert)
	put(t, filepath.Join(second, "tls.key"), key)
	if err := os.Symlink(second, link+"~"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+"~", link); err != nil {
		t.Fatal(err)
	}
	serves("after the folder was swapped", cert)
	if st := s.Status(); st.Fault != nil || st.Kind != Files || len(st.Names) != 1 || st.Names[0] != "noc.example" {
		t.Errorf("status %+v", st)
	}

	refused := func(what string, badCert, badKey []byte, want ...string) {
		t.Helper()
		put(t, certFile, badCert)
		put(t, keyFile, badKey)
		need.Within(t, 10*time.Second, func() error {
			fault := s.Status().Fault
			for _, w := range want {
				if fault == nil || !strings.Contains(fault.Error(), w) {
					return fmt.Errorf("%s: the fault is %v, want %q in it", what, fault, w)
				}
			}
			return nil
		})
		serves(what, cert)
		put(t, certFile, cert)
		put(t, keyFile, key)
		need.Until(t, what+": the fault is forgotten once it is mended", func() bool { return s.Status().Fault == nil })
	}
	_, otherKey := i.good("noc.example")
	refused("a key of another", cert, otherKey, "key_file: "+keyFile, "is not the key of the certificate for noc.example in "+certFile)
	refused("a cut certificate", cert[:len(cert)/2], key, "cert_file: "+certFile, "no certificate in PEM")
	refused("a cut key", cert, key[:len(key)/2], "key_file: "+keyFile, "no private key in PEM")
	oldCert, oldKey := i.issue(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour), "noc.example")
	refused("an expired one", oldCert, oldKey, "cert_file: "+certFile, "expired on ")
	newCert, newKey := i.issue(time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour), "noc.example")
	refused("one of the future", newCert, newKey, "cert_file: "+certFile, "is not valid before ")
	elseCert, elseKey := i.good("shop.example")
	refused("one of another name", elseCert, elseKey, "cert_file: "+certFile, "is for shop.example, not for noc.example")
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	need.Until(t, "a lost key is told", func() bool {
		f := s.Status().Fault
		return f != nil && strings.Contains(f.Error(), "key_file: "+keyFile+": no such file")
	})
	serves("after the key was lost", cert)
	if said := log.String(); strings.Count(said, "certificate not renewed") != 7 || strings.Contains(said, "PRIVATE KEY") {
		t.Errorf("each fault is logged once, of seven:\n%s", said)
	}
}

// TestFilesAtTheStart refuses what no listener can start with, and starts with
// what browsers refuse: there is no better one, and the night goes on.
func TestFilesAtTheStart(t *testing.T) {
	i, dir := newIssuer(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	cert, key := i.good("noc.example")
	_, otherKey := i.good("noc.example")
	oldCert, oldKey := i.issue(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour), "noc.example")
	f := func(cert, key []byte, host string, usable bool, want ...string) {
		t.Helper()
		for name, data := range map[string][]byte{certFile: cert, keyFile: key} {
			if data == nil {
				_ = os.Remove(name)
			} else {
				put(t, name, data)
			}
		}
		_, err := New(Options{Kind: Files, CertFile: certFile, KeyFile: keyFile, Host: host})
		if (err == nil) != usable {
			t.Errorf("usable is %v: %v", usable, err)
		}
		unusable, unfit := Check(certFile, keyFile, host)
		if (len(unusable) == 0) != usable {
			t.Errorf("usable is %v, and Check says %v", usable, unusable)
		}
		var all []error
		for _, fault := range append(unusable, unfit...) {
			all = append(all, fault)
		}
		said := fmt.Sprint(errors.Join(all...))
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("Check says %q, want %q in it", said, w)
			}
		}
		if len(all) != len(want) {
			t.Errorf("%d faults, want %d: %s", len(all), len(want), said)
		}
	}
	f(cert, key, "noc.example", true)
	f(cert, key, "", true)
	f(nil, nil, "", false, "cert_file: "+certFile+": no such file", "key_file: "+keyFile+": no such file")
	f(cert, nil, "", false, "key_file: "+keyFile+": no such file")
	f(cert, otherKey, "", false, "key_file: "+keyFile+": is not the key of the certificate for noc.example")
	f(key, cert, "", false, "cert_file: "+certFile+": holds no certificate")
	f([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, "", false, "cert_file: "+certFile+": x509")
	f(cert, []byte("nonsense"), "", false, "key_file: "+keyFile+": no private key")
	f(oldCert, oldKey, "shop.example", true, "expired on", "is for noc.example, not for shop.example")
}

// TestUnfitAtTheStartIsTold starts with a certificate that is over: it is said,
// and the next good one is taken.
func TestUnfitAtTheStartIsTold(t *testing.T) {
	i, dir := newIssuer(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	cert, key := i.issue(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour), "noc.example")
	put(t, certFile, cert)
	put(t, keyFile, key)
	s, err := New(Options{Kind: Files, CertFile: certFile, KeyFile: keyFile, Every: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	address := running(t, s)
	need.Until(t, "the fault is told", func() bool {
		f := s.Status().Fault
		return f != nil && strings.Contains(f.Error(), "cert_file: "+certFile+": expired on ")
	})
	if _, err := served(t, address, "noc.example", i.pool()); err == nil {
		t.Error("a client believes a certificate that is over")
	}
	cert, key = i.good("noc.example")
	put(t, keyFile, key)
	put(t, certFile, cert)
	need.Until(t, "the good one is served", func() bool {
		_, err := served(t, address, "noc.example", i.pool())
		return err == nil && s.Status().Fault == nil
	})
}
