// Package need says what a test needs from its surroundings: a Debian
// package's program, the shared test material, a seed. What is missing fails
// the test where it was promised (CI, NOCTURNE_SHARED) and skips it by name
// elsewhere, so that no test is skipped unseen.
package need

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Binary returns the path of a program that Debian's package pkg installs.
// With CI=true a missing one fails the test; otherwise it is a named skip.
func Binary(t testing.TB, name, pkg string) string {
	t.Helper()
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode()&0o111 != 0 {
			return p
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s: install Debian's package %s", name, pkg)
	}
	t.Skipf("needs %s of Debian's package %s, which is not installed", name, pkg)
	return ""
}

// Shared returns the folder of the shared test material, which the variable
// NOCTURNE_SHARED names. Unset it is a named skip; set, it must be there.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	root := os.Getenv("NOCTURNE_SHARED")
	if root == "" {
		t.Skip("needs the shared test material: NOCTURNE_SHARED is not set")
	}
	p := filepath.Join(append([]string{root}, elem...)...)
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("shared test material: %v", err)
	}
	return p
}

// Seed returns a random source whose seed is printed, and taken from
// NOCTURNE_SEED where that is set, so that a failing run can be had again.
func Seed(t testing.TB) (uint64, *rand.Rand) {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("NOCTURNE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("NOCTURNE_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("NOCTURNE_SEED=%d", seed)
	return seed, rand.New(rand.NewPCG(seed, seed))
}
