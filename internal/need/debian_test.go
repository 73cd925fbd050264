package need

import (
	"os/exec"
	"strings"
	"testing"
)

func TestDebianIsWhole(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a Debian where there is none yet: left to the run without -short")
	}
	out, err := exec.Command("tar", "-tf", Debian(t)).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"./usr/bin/dpkg\n", "./usr/sbin/useradd\n", "./usr/bin/setpriv\n", "./dev/null\n", "./proc/\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in it", want)
		}
	}
}
