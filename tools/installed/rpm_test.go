package installed

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nocturne/internal/need"
)

// TestRPMPackage takes the package through its life. Its scripts run for real,
// in a Debian, whose shell and account tools are those of any Linux.
func TestRPMPackage(t *testing.T) {
	rpm := need.Binary(t, "rpm", "rpm")
	first := filepath.Join(made(t), "nocturne-"+older+"-1.x86_64.rpm")
	if out := output(t, rpm, "-K", "--nosignature", first); !strings.Contains(out, "digests OK") {
		t.Errorf("digests: %s", out)
	}
	query := func(args ...string) string {
		return output(t, rpm, append([]string{"-qp", "--nosignature"}, args...)...)
	}
	if got := query("--qf", "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE} %{BUILDHOST}", first); got != "nocturne "+older+" 1 x86_64 Apache-2.0 nocturne" {
		t.Errorf("it is %s", got)
	}
	if got := strings.Fields(query("-c", first)); !slices.Equal(got, []string{"/etc/nocturne/nocturne.yaml"}) {
		t.Errorf("its configuration is %v", got)
	}
	for _, file := range []string{"/usr/bin/nocturne", "/usr/lib/systemd/system/nocturne.service", "/usr/share/licenses/nocturne/LICENSE", "/var/lib/nocturne"} {
		if !slices.Contains(strings.Fields(query("-l", first)), file) {
			t.Errorf("%s is not in it", file)
		}
	}

	j, u := newJail(t), readUnit(t)
	manage := func(args ...string) string {
		return output(t, rpm, append([]string{"--root", j.dir, "--nosignature"}, args...)...)
	}
	if out := manage("-i", "--nodeps", first); !strings.Contains(out, "systemctl enable --now nocturne") {
		t.Errorf("the installation does not say how to go on: %s", out)
	}
	if out := manage("-V", "--nodeps", "nocturne"); out != "" {
		t.Errorf("rpm -V: %s", out)
	}
	j.installed(u)
	v, before := j.firstRun(u)

	out := manage("-U", "--nodeps", filepath.Join(upgrade(t), "nocturne-"+newer+"-1.x86_64.rpm"))
	if strings.Contains(out, "systemctl enable") || !strings.Contains(out, "nocturne.yaml.rpmnew") {
		t.Errorf("the upgrade says %s", out)
	}
	if got := manage("-q", "nocturne"); strings.TrimSpace(got) != "nocturne-"+newer+"-1.x86_64" {
		t.Errorf("rpm has %s", got)
	}
	j.edited(v.base)
	j.secondRun(u, v, before)

	if out := manage("-e", "nocturne"); !strings.Contains(out, "stays in /var/lib/nocturne") {
		t.Errorf("erasing does not tell of the data: %s", out)
	}
	if j.state("/usr/bin/nocturne") != "" {
		t.Error("erased, and still there")
	}
	if text := read(t, j.path("/etc/nocturne/nocturne.yaml.rpmsave")); !strings.Contains(text, strings.TrimPrefix(v.base, "http://")) {
		t.Error("the edited configuration is lost")
	}
	j.keepsData()
}
