package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Fault is what is wrong with a file, by the field that names it: cert_file or
// key_file.
type Fault struct {
	Field, File string
	Err         error
}

func (f *Fault) Error() string { return f.Field + ": " + f.File + ": " + f.Err.Error() }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Check says what is wrong with a pair of files for use under the name host,
// which may be empty. With what is in unusable no listener can start; what is
// in unfit browsers refuse.
func Check(certFile, keyFile, host string) (unusable, unfit []*Fault) {
	c, _, err := readPair(certFile, keyFile)
	if err != nil {
		for _, e := range parts(err) {
			if f, ok := errors.AsType[*Fault](e); ok {
				unusable = append(unusable, f)
			}
		}
		return unusable, nil
	}
	for _, e := range judge(c.Leaf, host, time.Now()) {
		unfit = append(unfit, &Fault{"cert_file", certFile, e})
	}
	return nil, unfit
}

// digest is of the content of both files.
type digest [sha256.Size]byte

func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// readPair reads both files. Its errors are Faults, or join them.
func readPair(certFile, keyFile string) (*tls.Certificate, digest, error) {
	certPEM, errCert := os.ReadFile(certFile)
	keyPEM, errKey := os.ReadFile(keyFile)
	var both []error
	if errCert != nil {
		both = append(both, &Fault{"cert_file", certFile, cause(errCert)})
	}
	if errKey != nil {
		both = append(both, &Fault{"key_file", keyFile, cause(errKey)})
	}
	sum := digest(sha256.Sum256(slices.Concat(certPEM, []byte{0}, keyPEM)))
	if len(both) > 0 {
		return nil, sum, errors.Join(both...)
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err == nil {
		return &c, sum, nil
	}
	return nil, sum, blame(certFile, keyFile, certPEM, err)
}

// cause is the error without the path, which stands before it already.
func cause(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// blame finds out which of the two files tls.X509KeyPair means. The key's
// bytes never stand in its errors.
func blame(certFile, keyFile string, certPEM []byte, err error) error {
	leaf, bad := firstCertificate(certPEM)
	if bad != nil {
		return &Fault{"cert_file", certFile, bad}
	}
	if err.Error() == "tls: private key does not match public key" || err.Error() == "tls: private key type does not match public key type" {
		return &Fault{"key_file", keyFile, fmt.Errorf("is not the key of the certificate for %s in %s", subject(leaf), certFile)}
	}
	return &Fault{"key_file", keyFile, fmt.Errorf("no private key in PEM can be read from it: %w", err)}
}

// judge says why nobody would believe a certificate under that name.
func judge(leaf *x509.Certificate, host string, now time.Time) []error {
	var wrong []error
	if now.After(leaf.NotAfter) {
		wrong = append(wrong, fmt.Errorf("expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	if now.Before(leaf.NotBefore) {
		wrong = append(wrong, fmt.Errorf("is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339)))
	}
	if host != "" && leaf.VerifyHostname(host) != nil {
		wrong = append(wrong, fmt.Errorf("is for %s, not for %s of external_url", subject(leaf), host))
	}
	return wrong
}

// files is a pair that somebody else keeps up to date. Polling their content
// needs no watch, and sees renames and swapped symbolic links alike.
type files struct {
	cert, key, host string
	every           time.Duration

	used, bad digest // content in use, and content that was refused
	told      error  // why; nil until it was there at two looks
}

func (f *files) wait(*held, int) time.Duration { return f.every }

func (f *files) judge(leaf *x509.Certificate) error {
	var all []error
	for _, e := range judge(leaf, f.host, time.Now()) {
		all = append(all, &Fault{"cert_file", f.cert, e})
	}
	return errors.Join(all...)
}

// next takes what is new on the disk, unless it is unfit and what is in use is
// not.
func (f *files) next(_ context.Context, now *held) (*held, error) {
	c, sum, err := readPair(f.cert, f.key)
	switch {
	case now == nil && err != nil:
		return nil, err
	case now == nil: // at the start there is no better one
		f.used = sum
		return &held{c, Files}, nil
	case err != nil:
		return nil, f.refuse(sum, err)
	case sum == f.used:
		f.bad, f.told = digest{}, nil
		return nil, f.judge(now.Leaf)
	}
	if err := f.judge(c.Leaf); err != nil && f.judge(now.Leaf) == nil {
		return nil, f.refuse(sum, err)
	}
	f.used, f.bad, f.told = sum, digest{}, nil
	return &held{c, Files}, nil
}

// refuse tells of bad content when it is still there at the second look: the
// two files are often written one after the other.
func (f *files) refuse(sum digest, err error) error {
	if sum != f.bad {
		f.bad = sum
		return f.told
	}
	f.told = err
	return err
}
