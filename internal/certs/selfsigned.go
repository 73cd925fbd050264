package certs

import (
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
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	selfSignedLife = 397 * 24 * time.Hour // the longest that browsers take
	selfSignedLeft = 30 * 24 * time.Hour  // it is renewed with so much left
	lookAgain      = time.Hour            // so that a clock that was set is seen
)

// selfSigned is a certificate made here, for who trusts its fingerprint.
type selfSigned struct {
	dir   string
	names []string // that it must have
}

func (s *selfSigned) path() string { return filepath.Join(s.dir, "self-signed.pem") }

func (s *selfSigned) wait(*held, int) time.Duration { return lookAgain }

// next makes a new certificate where the stored one is over soon, lacks a name
// or is not there. One that cannot be read is not replaced: people may have
// pinned it.
func (s *selfSigned) next(_ context.Context, now *held) (*held, error) {
	var c *tls.Certificate
	if now != nil {
		c = now.Certificate
	} else if read, err := readOwn(s.path()); err == nil {
		c = read
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("self-signed certificate: %w; remove the file to have a new one made", err)
	}
	if c != nil && s.good(c.Leaf) {
		if now != nil {
			return nil, nil
		}
		return &held{c, SelfSigned}, nil
	}
	c, err := s.make()
	if err != nil {
		return nil, fmt.Errorf("make a self-signed certificate: %w", err)
	}
	return &held{c, SelfSigned}, nil
}

func (s *selfSigned) good(leaf *x509.Certificate) bool {
	if now := time.Now(); now.Add(selfSignedLeft).After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return false
	}
	return !slices.ContainsFunc(s.names, func(n string) bool { return leaf.VerifyHostname(n) != nil })
}

func (s *selfSigned) make() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife),
		Subject: pkix.Name{Organization: []string{"nocturne, self-signed"}}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range s.all() {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	t.Subject.CommonName = t.DNSNames[0]
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return writeOwn(s.path(), key, [][]byte{der})
}

// all are the names to have, and those that this machine knows of itself.
func (s *selfSigned) all() []string {
	out := slices.Clone(s.names)
	if name, err := os.Hostname(); err == nil && name != "" {
		out = append(out, name)
	}
	out = append(out, "localhost", "127.0.0.1", "::1")
	var once []string
	for _, n := range out {
		if n = strings.ToLower(n); !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}

// writeOwn stores a key and its certificates in one file, so that no crash can
// part them, and returns the pair.
func writeOwn(path string, key *ecdsa.PrivateKey, chain [][]byte) (*tls.Certificate, error) {
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	c, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	return &c, writeFile(path, text)
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func readOwn(path string) (*tls.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &c, nil
}

// writeFile replaces a file by one that only this user may read. When it
// returns, the new one is on the disk.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// firstCertificate is the leaf of a chain in PEM.
func firstCertificate(text []byte) (*x509.Certificate, error) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return nil, errors.New("holds no certificate in PEM")
		}
		if b.Type == "CERTIFICATE" {
			return x509.ParseCertificate(b.Bytes)
		}
	}
}

// subject names a certificate for people.
func subject(leaf *x509.Certificate) string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name (" + leaf.Subject.String() + ")"
	}
	return strings.Join(names, ", ")
}
