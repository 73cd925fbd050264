package main

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nocturne/internal/certs"
)

func TestTLSFaults(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	junk := file("junk.pem", "junk")
	good := selfSignedPair(t)
	other := selfSignedPair(t)
	f := func(text string, want ...string) {
		t.Helper()
		name := writeConfig(t, text)
		_, err := LoadConfig(name)
		if err == nil {
			t.Errorf("%q was taken", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), name+":1: "+w) && !strings.Contains(err.Error(), name+w) {
				t.Errorf("%q: got %q, want %q in it", text, err, w)
			}
		}
		if n := len(strings.Split(err.Error(), "\n")); n != len(want) {
			t.Errorf("%q: %d faults, want %d: %v", text, n, len(want), err)
		}
	}
	f("tls: {mode: maybe}\n", `tls.mode: "maybe" is none of off, self-signed, files, acme`)
	f("tls: {mod: off}\n", ":1: tls.mod: unknown field")
	f("tls: {min_version: 1.1}\n", `tls.min_version: "1.1" is neither 1.2 nor 1.3`)
	f("tls: {mode: files}\n", "tls.cert_file: is missing", "tls.key_file: is missing")
	f("tls: {cert_file: a, key_file: b}\n", "tls.cert_file: has no effect with tls.mode off", "tls.key_file: has no effect with tls.mode off")
	f("tls: {mode: files, cert_file: no.pem, key_file: "+junk+"}\n", "tls.cert_file: ")
	f("tls: {mode: files, cert_file: "+junk+", key_file: "+junk+"}\n", "tls.cert_file: "+junk+": holds no certificate in PEM")
	f("tls: {mode: files, cert_file: "+good+", key_file: "+other+"}\n", "tls.key_file: "+other+": is not the key of the certificate for")
	f("tls: {mode: acme}\n", "tls.acme.domains: is missing")
	f("tls: {mode: acme, acme: {domains: [noc.example, '*.noc.example', noc, NOC.example, 192.0.2.1]}}\n",
		`tls.acme.domains[1]: "*.noc.example"`, `tls.acme.domains[2]: "noc"`, `tls.acme.domains[3]: "NOC.example"`, `tls.acme.domains[4]: "192.0.2.1"`)
	f("tls: {mode: acme, acme: {domains: [noc.example], email: nobody, directory: 'http://x', ca_file: "+junk+", http_listen: here}}\n",
		"tls.acme.email:", "tls.acme.directory:", "tls.acme.ca_file: "+junk+" holds no certificate", "tls.acme.http_listen:")
	f("tls: {acme: {domains: [noc.example]}}\n", "tls.acme: has no effect with tls.mode off")
	f("trusted_proxies: [10.0.0.0/8, 0.0.0.0/0, '::/0']\n", "trusted_proxies[1]: 0.0.0.0/0 is everybody", "trusted_proxies[2]: ::/0 is everybody")
	f("trusted_proxies: [10.0.0.1]\n", ":1: trusted_proxies[0]:")
	f("http: {max_header: 1KiB, max_body: 1KiB, header_timeout: 0s, write_timeout: 10ms, max_connections: 1, max_connections_per_address: 0}\n",
		"http.max_header:", "http.max_body:", "http.header_timeout: 0s is under", "http.write_timeout:", "http.max_connections:", "http.max_connections_per_address:")
	f("http: {header_timeout: 30s, read_timeout: 20s}\n", "http.read_timeout: 20s is shorter")
}

// selfSignedPair is a file with a certificate and its key.
func selfSignedPair(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := certs.New(certs.Options{Kind: certs.SelfSigned, Dir: dir, Names: names}); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "self-signed.pem")
}

// TestTLSModes says what is served where, when little is said.
func TestTLSModes(t *testing.T) {
	f := func(text, mode, external string, hsts time.Duration, version uint16) {
		t.Helper()
		c, err := LoadConfig(writeConfig(t, text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			return
		}
		if c.tlsMode() != mode || c.externalURL() != external || c.hsts() != hsts || c.TLS.version() != version {
			t.Errorf("%q: mode %s, %s, HSTS %s, version %x", text, c.tlsMode(), c.externalURL(), c.hsts(), c.TLS.version())
		}
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	pair := selfSignedPair(t)
	files := "tls: {mode: files, cert_file: " + pair + ", key_file: " + pair
	const half = 180 * 24 * time.Hour
	f("", "off", "http://127.0.0.1:8080", 0, tls.VersionTLS12)
	f("listen: localhost:80\n", "off", "http://localhost:80", 0, tls.VersionTLS12)
	f("listen: '[::1]:80'\n", "off", "http://[::1]:80", 0, tls.VersionTLS12)
	f("listen: 192.0.2.1:8443\n", "self-signed", "https://192.0.2.1:8443", 0, tls.VersionTLS12)
	f("listen: ':8443'\n", "self-signed", "https://"+hostname+":8443", 0, tls.VersionTLS12)
	f("listen: 0.0.0.0:8443\ntls: {min_version: 1.3}\n", "self-signed", "https://"+hostname+":8443", 0, tls.VersionTLS13)
	f("tls: {mode: self-signed}\n", "self-signed", "https://127.0.0.1:8080", 0, tls.VersionTLS12)
	f("listen: 0.0.0.0:443\nexternal_url: https://noc.example\n"+files+"}\n", "files", "https://noc.example", half, tls.VersionTLS12)
	f(files+", hsts: 0s}\n", "files", "https://127.0.0.1:8080", 0, tls.VersionTLS12)
	f("listen: 0.0.0.0:443\nexternal_url: https://noc.example\ntls: {mode: acme, hsts: 1d, acme: {domains: [noc.example]}}\n", "acme", "https://noc.example", 24*time.Hour, tls.VersionTLS12)
}

// TestCheckTellsUnfit names a certificate that a listener could use and
// browsers would not believe.
func TestCheckTellsUnfit(t *testing.T) {
	pair := selfSignedPair(t)
	name := writeConfig(t, "external_url: https://noc.example:8443\ntls: {mode: files, cert_file: "+pair+", key_file: "+pair+"}\n")
	var out bytes.Buffer
	c := command()
	c.SetArgs([]string{"check", "-c", name})
	c.SetOut(&out)
	c.SetErr(&out)
	if err := c.Execute(); err == nil || !strings.Contains(out.String(), name+": tls.cert_file: "+pair+": is for ") || !strings.Contains(out.String(), "not for noc.example of external_url") {
		t.Errorf("%v: %s", err, out.String())
	}
}
