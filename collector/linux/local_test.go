package linux

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSandboxIsNotTheMachine reads the mountinfo of a service under
// ProtectSystem=strict (in the form of Linux 6): / is mounted read-only there, /srv is a
// filesystem that is read-only itself.
func TestSandboxIsNotTheMachine(t *testing.T) {
	const mountinfo = `495 470 254:0 / / ro,relatime shared:276 master:1 - ext4 /dev/vda rw,discard
496 495 254:0 /var/lib/nocturne /var/lib/nocturne rw,relatime shared:288 master:1 - ext4 /dev/vda rw,discard
497 495 254:16 / /srv/with\040space ro,relatime - xfs /dev/vdb ro,attr2
498 495 0:24 / /sys/fs/cgroup ro,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate
`
	got, err := parseMounts(mountsOf([]byte(mountinfo)))
	if err != nil {
		t.Fatal(err)
	}
	want := []mount{{"/dev/vda", "/", "ext4", false}, {"/dev/vdb", "/srv/with space", "xfs", true}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := parseMounts(mountsOf([]byte("495 470 254:0 / / ro - \n"))); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a line that is cut: %v", err)
	}
}
