package snmpconn_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
	"nocturne/internal/snmpconn"
	"nocturne/internal/snmpconn/snmptest"
)

var (
	v1     = snmpconn.Credential{Version: "1", Community: snmptest.Community}
	v2c    = snmpconn.Credential{Version: "2c", Community: snmptest.Community}
	v3user = snmpconn.Credential{
		Version: "3", User: snmptest.User,
		AuthProtocol: "SHA", AuthPassphrase: snmptest.AuthPass,
		PrivProtocol: "AES", PrivPassphrase: snmptest.PrivPass,
	}
)

// snmpd starts Debian's agent.
func snmpd(t testing.TB) string {
	t.Helper()
	return snmptest.Snmpd(t, need.Binary(t, "snmpd", "snmpd"))
}

// simulator starts the shared simulator on a folder of walks.
func simulator(t testing.TB, walks string, args ...string) snmptest.Agents {
	t.Helper()
	return snmptest.Simulator(t, need.Shared(t, "snmp", "simulator"), walks, args...)
}

// walk opens a session and walks the roots within a deadline.
func walk(t *testing.T, p *snmpconn.Pool, addr string, c snmpconn.Credential, within time.Duration, roots ...snmpconn.OID) ([]snmpconn.Column, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	s, err := p.Open(ctx, addr, c)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Walk(ctx, roots...)
}

// oracle is what net-snmp's snmpwalk sees, one "oid value" a line.
func oracle(t *testing.T, addr string, c snmpconn.Credential, root string) []string {
	t.Helper()
	bin := need.Binary(t, "snmpwalk", "snmp")
	args := []string{"-On", "-Oe", "-OU", "-Ox", "-Ot", "-Cc", "-v" + c.Version}
	if c.Version == "3" {
		args = append(args, "-l", "authPriv", "-u", c.User, "-a", "SHA", "-A", c.AuthPassphrase.Reveal(), "-x", "AES", "-X", c.PrivPassphrase.Reveal())
	} else {
		args = append(args, "-c", c.Community.Reveal())
	}
	out, err := exec.Command(bin, append(args, addr, root)...).CombinedOutput()
	if err != nil {
		t.Fatalf("snmpwalk: %v\n%s", err, out)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name, rest, ok := strings.Cut(line, " = "); ok && !strings.Contains(rest, "No Such") {
			names = append(names, strings.TrimPrefix(name, "."))
		}
	}
	return names
}

func names(cols []snmpconn.Column) []string {
	var out []string
	for _, c := range cols {
		for _, r := range c.Rows {
			out = append(out, r.OID.String())
		}
	}
	return out
}

func TestWalkSeesWhatSnmpwalkSees(t *testing.T) {
	addr := snmpd(t)
	p := snmpconn.New(snmpconn.Options{})
	for _, c := range []snmpconn.Credential{v1, v2c, v3user} {
		for _, root := range []string{"1.3.6.1.2.1.2", "1.3.6.1.2.1.31.1.1", "1.3.6.1.2.1.1", "1.3.6.1.2.1.99.1"} {
			want := oracle(t, addr, c, root)
			cols, err := walk(t, p, addr, c, 20*time.Second, snmpconn.MustOID(root))
			if err != nil {
				t.Fatalf("v%s %s: %v", c.Version, root, err)
			}
			if diff := cmp.Diff(want, names(cols)); diff != "" {
				t.Errorf("v%s %s: snmpwalk and Walk differ:\n%s", c.Version, root, diff)
			}
		}
	}
}

func TestGetReadsValuesAndWhatIsNotThere(t *testing.T) {
	addr := snmpd(t)
	p := snmpconn.New(snmpconn.Options{})
	for _, c := range []snmpconn.Credential{v1, v2c, v3user} {
		s, err := p.Open(t.Context(), addr, c)
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Get(t.Context(), snmpconn.MustOID("1.3.6.1.2.1.1.5.0"), snmpconn.MustOID("1.3.6.1.2.1.1.99.0"), snmpconn.MustOID("1.3.6.1.2.1.1.6.0"))
		s.Close()
		if err != nil {
			t.Fatalf("v%s: %v", c.Version, err)
		}
		if v[0].Text() != "nocturne-test" || v[1].Exists() || v[2].Text() != "row 7" {
			t.Errorf("v%s: %q, exists %v, %q", c.Version, v[0].Text(), v[1].Exists(), v[2].Text())
		}
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	addr := snmpd(t)
	change := func(f func(*snmpconn.Credential)) snmpconn.Credential {
		c := v3user
		f(&c)
		return c
	}
	for name, tc := range map[string]struct {
		addr string
		cred snmpconn.Credential
		want snmpconn.Class
		says string
	}{
		"wrong community": {addr, snmpconn.Credential{Version: "2c", Community: "wrongwrong"}, snmpconn.Timeout, "wrong community"},
		"wrong user":      {addr, change(func(c *snmpconn.Credential) { c.User = "nobody" }), snmpconn.Credentials, "does not know the user"},
		"wrong auth":      {addr, change(func(c *snmpconn.Credential) { c.AuthPassphrase = "wrongwrong" }), snmpconn.Credentials, "wrong authentication passphrase"},
		"wrong hash":      {addr, change(func(c *snmpconn.Credential) { c.AuthProtocol = "SHA256" }), snmpconn.Credentials, "wrong authentication passphrase"},
		"wrong privacy":   {addr, change(func(c *snmpconn.Credential) { c.PrivPassphrase = "wrongwrong" }), "", "privacy"},
		"too low a level": {addr, change(func(c *snmpconn.Credential) { c.AuthProtocol, c.PrivProtocol = "", "" }), snmpconn.Credentials, "security level"},
		"nothing there":   {"127.0.0.1:9", v2c, snmpconn.Refused, "no agent listens"},
		"no credential":   {addr, snmpconn.Credential{}, snmpconn.Config, "community is missing"},
		"bad address":     {"127.0.0.1:http", v2c, snmpconn.Config, "not host or host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := snmpconn.New(snmpconn.Options{Timeout: 300 * time.Millisecond})
			_, err := walk(t, p, tc.addr, tc.cred, 10*time.Second, snmpconn.MustOID("1.3.6.1.2.1.1"))
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			if tc.want != "" && snmpconn.ClassOf(err) != tc.want {
				t.Errorf("class %q, want %q", snmpconn.ClassOf(err), tc.want)
			}
			for _, want := range []string{tc.says, tc.addr} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			for _, secret := range []string{"wrongwrong", snmptest.Community, snmptest.AuthPass, snmptest.PrivPass} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error tells a secret: %v", err)
				}
			}
		})
	}
}
