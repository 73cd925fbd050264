package lab

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"nocturne/internal/need"
)

// TestHostKeepsMarks works as a step with a probe does: it leaves a mark, which
// others see, that names a command which runs, or ran.
func TestHostKeepsMarks(t *testing.T) {
	seed, _ := need.Seed(t)
	l, err := New(Options{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(l, rand.New(rand.NewPCG(seed, 1)), "one", []string{"web.service"})
	run := func(command string) (string, int) {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		exit := h.interpret(ctx, command, &out, &out)
		return out.String(), exit
	}
	const ask = `case $(LC_ALL=C; export LC_ALL; kill -s 0 -- "-$(cat "$HOME/.m/pid")" 2>&1) in *'o such process'*) echo over;; *) echo runs;; esac`
	begin := `(umask 077
mkdir "$HOME/.m" && echo "$$" >"$HOME/.m/pid") || exit 125
(eval 'sleep 0.5; exit 3')
s=$?
` + ask + `
exit "$s"`
	done := make(chan string, 1)
	go func() {
		out, exit := run(begin)
		done <- fmt.Sprint(out, exit)
	}()
	for {
		if _, exit := run(`[ -f "$HOME/.m/pid" ]`); exit == 0 {
			break
		}
	}
	if out, _ := run(ask); out != "runs\n" {
		t.Errorf("while it runs: %q", out)
	}
	if out, exit := run(begin); exit != 125 {
		t.Errorf("the mark was made twice: %d, %q", exit, out)
	}
	if got := <-done; got != "runs\n3" {
		t.Errorf("the command: %q", got)
	}
	if out, _ := run(ask); out != "over\n" {
		t.Errorf("when it is over: %q", out)
	}
	if out, exit := run(`rm -rf "$HOME/.m"; [ -d "$HOME/.m" ]`); exit == 0 {
		t.Errorf("the mark is still there: %q", out)
	}
	if out, exit := run(`mkdir /proc/x 2>/dev/null || mkdir /gone/x 2>/dev/null || echo x >/etc/passwd`); exit == 0 {
		t.Errorf("made where nothing can be: %q", out)
	}
}
