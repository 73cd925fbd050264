package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const rootsChild = "NOCTURNE_TEST_ROOTS"

// TestAuthoritiesWithoutTheSystem runs itself where the system has none: an
// authority that Mozilla believes is believed.
func TestAuthoritiesWithoutTheSystem(t *testing.T) {
	if os.Getenv(rootsChild) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAuthoritiesWithoutTheSystem$")
		cmd.Env = append(os.Environ(), rootsChild+"=1", "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/nonexistent")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	seen := 0
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if root.Constraint != nil {
			continue
		}
		if _, err := cert.Verify(x509.VerifyOptions{CurrentTime: cert.NotBefore.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", cert.Subject, err)
		}
		seen++
	}
	if seen < 50 {
		t.Errorf("%d authorities are known", seen)
	}
}
