package automation

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
)

func TestParseRunbook(t *testing.T) {
	rb, err := ParseRunbook("restart.yaml", []byte(`
name: restart
title: Restart a service
parameters:
- {name: unit, pattern: '[a-z@.-]+', required: true}
- {name: why, default: asked}
steps:
- name: restart
  shell: 'systemctl restart {{ unit }} # {{why}}'
`))
	if err == nil || !strings.Contains(err.Error(), "{{why}} stands in a comment") {
		t.Fatalf("got %v", err)
	}
	rb, err = ParseRunbook("restart.yaml", []byte(`
name: restart
parameters:
- {name: unit, pattern: '[a-z@.-]+', required: true}
steps:
- {name: restart, shell: 'systemctl restart {{ unit }}', timeout: 5s, idempotent: true, probe: 'systemctl is-active {{unit}}'}
- {name: done, shell: 'true'}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Runbook{Name: "restart", Title: "restart", Revision: rb.Revision,
		Parameters: []Parameter{{Name: "unit", Pattern: "[a-z@.-]+", Required: true}},
		Steps: []Step{
			{Name: "restart", Shell: "systemctl restart {{ unit }}", Timeout: 5 * time.Second, Idempotent: true, Probe: "systemctl is-active {{unit}}"},
			{Name: "done", Shell: "true", Timeout: DefaultStepTimeout},
		}}
	if d := cmp.Diff(want, rb); d != "" || len(rb.Revision) != 16 {
		t.Error(d)
	}
}

func TestRunbookFaults(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, err := ParseRunbook("a.yaml", []byte(text))
		if err == nil {
			t.Errorf("%q parsed", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("got %q, want %q in it", err, w)
			}
		}
	}
	f("name: a\nstep: []\n", "a.yaml:2: step: unknown field")
	f("name: a b\nsteps:\n- name: s\n  shell: x\n- name: s\n  shell: y {{no}}\n",
		`a.yaml:1: name: "a b" is not a name`, `a.yaml:5: steps[1].name: step "s" stands here twice`, `a.yaml:6: steps[1].shell: parameter "no" is used but not declared`)
	f("name: a\nparameters:\n- name: p\n  pattern: '('\n- name: q\n  pattern: '[0-9]+'\n  default: x\nsteps:\n- {name: s, shell: x, timeout: -1s}\n",
		"a.yaml:4: parameters[0].pattern: bad pattern", "a.yaml:7: parameters[1].default: ", "steps[0].timeout: ")
	f("name: a\n", "steps: a runbook needs at least one step")
	f("name: a\nsteps:\n- {name: s}\n", "a.yaml:3: steps[0].shell: a step needs a command")
	for _, shell := range []string{`echo "{{p}}"`, `echo '{{p}}'`, "echo `x {{p}}`", `echo $(x {{p}})`, `echo $(({{p}}+1))`, `(({{p}}))`, `echo ${x:-{{p}}}`,
		`echo \{{p}}`, `echo ${{p}}`, "cat <<E\n{{p}}\nE", `echo "$(echo " {{p}} ")"`, `echo "a" # {{p}}`} {
		var text strings.Builder
		text.WriteString("name: a\nparameters: [{name: p}]\nsteps:\n- name: s\n  shell: |\n")
		for line := range strings.Lines(shell) {
			text.WriteString("    " + line)
		}
		f(text.String(), "a.yaml:5: steps[0].shell: ")
	}
}

// TestQuoting hands nasty values through a real shell, which must print them
// back and do nothing else.
func TestQuoting(t *testing.T) {
	sh := need.Binary(t, "sh", "dash")
	values := []string{"a b", "'", "''", `"`, "`id`", "$(id)", "${HOME}", "$HOME", `\`, `\'`, `'; echo owned; '`, "a\nb", "*", "~", "!x", "#x", "&", "|cat", ">x", "", "ünï", "--x", "\t", "%s", "-n", "\x01\x7f"}
	_, rng := need.Seed(t)
	alphabet := []rune(`'"\$` + "`" + `(){};&|<>*?! #ab` + "\n")
	for range 50 {
		v := make([]rune, rng.IntN(12))
		for i := range v {
			v[i] = alphabet[rng.IntN(len(alphabet))]
		}
		values = append(values, string(v))
	}
	for _, tmpl := range []string{`printf %s {{v}}`, `x={{v}}; printf %s "$x"`, `: "$HOME" 'q' \" x; (printf %s {{v}})`, `if true; then printf %s {{v}}; fi # end`} {
		for _, v := range values {
			cmd, err := Render(tmpl, map[string]string{"v": v})
			if err != nil {
				t.Fatal(err)
			}
			got, err := exec.Command(sh, "-c", cmd).CombinedOutput()
			if err != nil || string(got) != v {
				t.Errorf("%s of %q: got %q, %v", tmpl, v, got, err)
			}
		}
	}
	if _, err := Render("x {{v}}", map[string]string{"v": "a\x00b"}); err == nil {
		t.Error("a NUL was rendered")
	}
}

// What the scanner may read otherwise than the shell holds no parameter behind
// it: there, the value would end up outside of its quotes.
func TestQuotingInDoubt(t *testing.T) {
	for _, tmpl := range []string{
		"(echo a)#'\necho '{{v}}'", "echo {#'\n{{v}} '", "echo $(id)#'\n{{v}}'", "echo {a}#'\n{{v}}'",
		"echo $( # it's\nid) '{{v}}", `echo $'\'{{v}}`, "echo $(#'\nid)'{{v}}'",
	} {
		if cmd, err := Render(tmpl, map[string]string{"v": "; echo owned"}); err == nil {
			t.Errorf("%q became %q", tmpl, cmd)
		}
	}
	for _, tmpl := range []string{"n=${#HOME}; echo {{v}}", "(echo a) # it's\necho {{v}}", "(# it's\necho {{v}})", "a=$((16#ff)); echo {{v}}", "{ echo {{v}}; }", "echo a#b {{v}}"} {
		if _, err := Render(tmpl, map[string]string{"v": "x"}); err != nil {
			t.Errorf("%q: %v", tmpl, err)
		}
	}
}

func TestBind(t *testing.T) {
	rb := Runbook{Name: "r", Parameters: []Parameter{{Name: "n", Pattern: "[0-9]+|x", Default: "1"}, {Name: "free"}}}
	got, err := rb.Bind(map[string]string{"free": "a b"})
	if d := cmp.Diff(map[string]string{"n": "1", "free": "a b"}, got); d != "" || err != nil {
		t.Error(err, d)
	}
	for _, bad := range []map[string]string{{"n": "1; id"}, {"n": "yx"}, {"n": "1\n"}, {"free": "--force"}, {"free": "a\x00"}, {"other": "1"}} {
		if _, err := rb.Bind(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestRegionByLongestPrefix(t *testing.T) {
	a, err := newAtlas([]Region{{Name: "wide", Prefixes: prefixes("10.0.0.0/8", "fd00::/8")}, {Name: "narrow", Prefixes: prefixes("10.1.0.0/16")}}, 8)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{"10.2.3.4:22": "wide", "10.1.3.4:22": "narrow", "10.1.3.4": "narrow", "[fd00::1]:22": "wide", "192.0.2.1:22": DefaultRegion, "name:22": DefaultRegion, "[::ffff:10.1.0.1]:22": "narrow"} {
		if got := a.of(addr); got != want {
			t.Errorf("%s is in %s, want %s", addr, got, want)
		}
	}
	if _, err := newAtlas([]Region{{Name: "a", Prefixes: prefixes("10.0.0.0/8")}, {Name: "b", Prefixes: prefixes("10.9.0.0/8")}, {Name: "a"}}, 8); err == nil ||
		!strings.Contains(err.Error(), "region b: prefix 10.9.0.0/8 is region a's") || !strings.Contains(err.Error(), "region a stands here twice") {
		t.Errorf("got %v", err)
	}
}
