package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nocturne/internal/access"
	"nocturne/internal/ledger"
	"nocturne/internal/snmpconn"
	"nocturne/internal/state"
	"nocturne/internal/upgrade"
)

const (
	plantedCommunity  = "PLANTED-COMMUNITY-7d1f"
	plantedPassphrase = "PLANTED-PASSPHRASE-51c0"
)

func TestMasterKeyConfig(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		name := writeConfig(t, text)
		c, err := LoadConfig(name)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			return
		}
		s := c.masterKey()
		got := s.String()
		if s.Next != nil {
			got += ", then " + s.Next.String()
		}
		if got = strings.ReplaceAll(got, filepath.Dir(name), "DIR"); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	f("", "file DIR/data/master.key")
	f("data: /x\n", "file /x/master.key")
	f("master_key: a.key\n", "file DIR/a.key")
	f("master_key: {file: a.key}\n", "file DIR/a.key")
	f("master_key: {credential: vault}\n", "systemd credential vault")
	f("master_key: {passphrase_file: /a/b}\n", "passphrase in file /a/b")
	f("master_key: {passphrase_credential: vault}\n", "passphrase in systemd credential vault")
	f("master_key: {passphrase_prompt: true}\n", "passphrase asked for")
	f("master_key:\n  next: {credential: b}\ndata: d\n", "file DIR/d/master.key, then systemd credential b")
	f("master_key: {credential: a, next: {passphrase_file: b}}\n", "systemd credential a, then passphrase in file DIR/b")
	bad := func(text string, want ...string) {
		t.Helper()
		name := writeConfig(t, text)
		_, err := LoadConfig(name)
		for _, w := range append(want, name) {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v, want %q in it", text, err, w)
			}
		}
		if err != nil && strings.Contains(err.Error(), plantedPassphrase) {
			t.Errorf("%q: the fault tells a secret: %v", text, err)
		}
	}
	bad("master_key: {file: a, credential: b}\n", "master_key: wants exactly one of file, credential", "has file, credential")
	bad("\nmaster_key: {filee: a}\n", ":2: master_key.filee: unknown field; known here: credential, file, next, passphrase_credential")
	bad("master_key: {passphrase: "+plantedPassphrase+"}\n", ":1: master_key.passphrase: unknown field")
	bad("master_key: {passphrase_env: "+plantedPassphrase+"}\n", ":1: master_key.passphrase_env: unknown field")
	bad("master_key: ["+plantedPassphrase+"]\n", ":1: master_key: wants a mapping, not a list")
	bad("master_key: {passphrase_prompt: "+plantedPassphrase+"}\n", ":1: master_key.passphrase_prompt: cannot be read as bool")
	bad("master_key: {credential: ../b, passphrase_credential: a/b}\n", `master_key.credential: "../b" is no name`, "master_key.passphrase_credential")
	bad("master_key: {file: a, next: {}}\n", "master_key.next: wants exactly one of")
	bad("master_key: {file: a, next: {file: a}}\n", "master_key.next: is the same place")
	bad("master_key: {file: a, next: b}\n", ":1: master_key.next: wants a mapping")
}

// keyTool runs one `nocturne key` command.
func keyTool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"key"}, args...))
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// vaultFor makes the vault of a configuration that was never started, with one
// credential and an administrator's token in a file.
func vaultFor(t *testing.T, config string) (tokenFile string) {
	t.Helper()
	cfg, err := LoadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	db, err := state.Open(state.Options{Dir: filepath.Join(cfg.Data, "state")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := upgrade.Put(cfg.Data, upgrade.Current, version); err != nil {
		t.Fatal(err)
	}
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	a, err := access.Open(access.Options{State: db, Ledger: chain, Key: cfg.masterKey()})
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.AddToken(t.Context(), access.System, "ops", access.Administrator, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Vault().Put(t.Context(), access.System, "core", "snmp", snmpconn.Credential{Version: "2c", Community: plantedCommunity}); err != nil {
		t.Fatal(err)
	}
	tokenFile = filepath.Join(filepath.Dir(config), "token")
	if err := os.WriteFile(tokenFile, []byte(token.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return tokenFile
}

// TestKeyAtRest looks at, checks and rotates the key of a folder that no
// server holds.
func TestKeyAtRest(t *testing.T) {
	config := writeConfig(t, "data: d\nlog: {level: error}\n")
	if _, err := keyTool(t, "show", "-c", config); err == nil || !strings.Contains(err.Error(), "there is no state in") {
		t.Errorf("no data: %v", err)
	}
	vaultFor(t, config)
	file := filepath.Join(filepath.Dir(config), "d", "master.key")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var was access.KeyStatus
	f := func(into any, args ...string) {
		t.Helper()
		out, err := keyTool(t, append(args, "-c", config, "--json")...)
		if err != nil || json.Unmarshal([]byte(out), into) != nil || strings.Contains(out, string(before[:12])) {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	f(&was, "show")
	if was.Records != 1 || len(was.ID) != 16 || was.Source != "file "+file || time.Since(was.Since) > time.Hour {
		t.Errorf("shown %+v", was)
	}
	var r access.Rotated
	f(&r, "rotate", "--keep-old")
	if r.From != was.ID || r.Records != 1 {
		t.Errorf("rotated %+v", r)
	}
	var c access.KeyCheck
	f(&c, "check")
	if c.Good != 1 {
		t.Errorf("checked %+v", c)
	}
	if kept, err := os.ReadFile(file + ".old-" + r.From); err != nil || !bytes.Equal(kept, before) {
		t.Errorf("kept: %v", err)
	}
	for _, args := range [][]string{{"show"}, {"check"}, {"rotate"}} {
		out, err := keyTool(t, append(args, "-c", config)...)
		if err != nil || !strings.Contains(out, r.To) && args[0] != "check" {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := keyTool(t, "check", "-c", config); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("lost: %v", err)
	}
}

// serveChild is a command of the product on that configuration.
func serveChild(config string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+config)
	return cmd
}

// refuses wants that the product does not start, and returns what it says.
func refuses(t *testing.T, config string, want ...string) string {
	t.Helper()
	b, err := serveChild(config).CombinedOutput()
	if err == nil {
		t.Errorf("it started and ended:\n%s", b)
	}
	for _, w := range want {
		if !strings.Contains(string(b), w) {
			t.Errorf("it says\n%s\nwant %q in it", b, w)
		}
	}
	return string(b)
}

// leaks looks for secrets in a text.
func leaks(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s stands in %s", s, where)
		}
	}
}

// TestKeyOfARunningServer plants secrets, rotates over the API while the
// product runs, kills it, starts it again, with the wrong passphrase too, and
// then looks for the secrets everywhere but where they belong.
func TestKeyOfARunningServer(t *testing.T) {
	config := writeConfig(t, `
listen: 127.0.0.1:0
data: d
log: {level: debug}
collector: {local: false}
master_key: {passphrase_file: words}
credentials:
- name: edge
  snmp: {version: 2c, community: `+plantedCommunity+`}
`)
	dir := filepath.Dir(config)
	words := filepath.Join(dir, "words")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(words, plantedPassphrase+"-1")
	tokenFile := vaultFor(t, config)
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{plantedCommunity, plantedPassphrase, strings.TrimSpace(string(token))}
	var said strings.Builder

	p, _ := startProcess(t, serveChild(config), false)
	ask := func(args ...string) (string, error) {
		out, err := keyTool(t, append(args, "-c", config, "--server", p.url, "--token-file", tokenFile)...)
		fmt.Fprintln(&said, out, err)
		return out, err
	}
	good := func(want string, args ...string) {
		t.Helper()
		if out, err := ask(args...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	good("passphrase in file "+words, "show")
	if _, err := ask("rotate"); err == nil || !strings.Contains(err.Error(), words+".next") || !strings.Contains(err.Error(), "409") {
		t.Errorf("nothing is offered: %v", err)
	}
	put(words+".next", plantedPassphrase+"-2")
	good("2 credentials are sealed anew", "rotate")
	good("2 credentials open", "check")
	if held, err := os.ReadFile(words); err != nil || string(held) != plantedPassphrase+"-2\n" {
		t.Errorf("the passphrase in use: %v", err)
	}
	if _, err := keyTool(t, "show", "-c", config); err == nil || !strings.Contains(err.Error(), "--token-file") {
		t.Errorf("a folder that is held, without a token: %v", err)
	}
	if _, err := keyTool(t, "show", "--server", "http://192.0.2.1", "--token-file", tokenFile); err == nil || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("a token over the network: %v", err)
	}
	for _, name := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
		if err != nil || len(b) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		leaks(t, name, string(b), secrets)
	}
	p.kill()
	said.WriteString(p.stderr.String())

	p, _ = startProcess(t, serveChild(config), false)
	good("2 credentials open", "check")
	p.stop()
	said.WriteString(p.stderr.String())
	if !strings.Contains(p.stderr.String(), "the vault is open") {
		t.Errorf("the log does not tell of the key:\n%s", p.stderr)
	}

	put(words, plantedPassphrase+"-1")
	said.WriteString(refuses(t, config, words, "not the one that sealed"))
	put(words, "")
	said.WriteString(refuses(t, config, words, "is empty"))
	if err := os.Remove(words); err != nil {
		t.Fatal(err)
	}
	said.WriteString(refuses(t, config, words, "gone"))
	put(words, plantedPassphrase+"-2")
	p, _ = startProcess(t, serveChild(config), false)
	good("2 credentials open", "check")
	p.stop()

	leaks(t, "what was said", said.String(), secrets)
	nowhereIn(t, filepath.Join(dir, "d"), "edge", secrets)
}

// nowhereIn looks for secrets in all files below a folder, and for a word that
// is none, so that it is known to see the records.
func nowhereIn(t *testing.T, dir, word string, secrets []string) {
	t.Helper()
	seen := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		leaks(t, path, string(b), secrets)
		seen = seen || bytes.Contains(b, []byte(word))
		return err
	})
	if err != nil || !seen {
		t.Errorf("looked through %s, saw records: %v, %v", dir, seen, err)
	}
}

// TestServeWithCredential runs the product as systemd does: with a folder of
// credentials.
func TestServeWithCredential(t *testing.T) {
	config := writeConfig(t, "listen: 127.0.0.1:0\ndata: d\ncollector: {local: false}\nmaster_key: {credential: vault}\n")
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	refuses(t, config, "$CREDENTIALS_DIRECTORY is not set", "LoadCredential=vault:FILE")
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	refuses(t, config, "systemd credential vault is not among those")
	// systemd's own mode, which tells of its access list.
	text := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))
	if err := os.WriteFile(filepath.Join(dir, "vault"), []byte(text), 0o440); err != nil {
		t.Fatal(err)
	}
	vaultFor(t, config)
	p, _ := startProcess(t, serveChild(config), false)
	p.stop()
	leaks(t, "the log", p.stderr.String(), []string{text})
	if err := os.Remove(filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	refuses(t, config, "the master key is gone", "systemd credential vault")
}

// terminal is a pair of pseudo-terminals: what a person has, and the program.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		program, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// typeSecret waits until the program reads without an echo, and types.
func typeSecret(person, program *os.File, text string) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
		if err != nil {
			return err
		}
		if state.Lflag&unix.ECHO == 0 {
			_, err := person.WriteString(text + "\n")
			return err
		}
	}
	return fmt.Errorf("nobody asked in half a minute")
}

// TestPassphraseIsAskedFor types the passphrase at a terminal.
func TestPassphraseIsAskedFor(t *testing.T) {
	const settings = "listen: 127.0.0.1:0\ndata: d\ncollector: {local: false}\n"
	config := writeConfig(t, settings+"master_key: {passphrase_file: words}\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "words"), []byte(plantedPassphrase), 0o600); err != nil {
		t.Fatal(err)
	}
	vaultFor(t, config)
	if err := os.WriteFile(config, []byte(settings+"master_key: {passphrase_prompt: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, config, "standard input is no terminal")

	person, program := terminal(t)
	typed := make(chan error, 1)
	go func() { typed <- typeSecret(person, program, plantedPassphrase) }()
	cmd := serveChild(config)
	cmd.Stdin = program
	p, _ := startProcess(t, cmd, false)
	if err := <-typed; err != nil {
		t.Fatal(err)
	}
	p.stop()
	if !strings.Contains(p.stderr.String(), "Passphrase of the master key: ") {
		t.Errorf("asked:\n%s", p.stderr)
	}
	leaks(t, "the log", p.stderr.String(), []string{plantedPassphrase})
	if n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCINQ); err != nil || n != 0 {
		t.Errorf("%d characters were shown at the terminal, %v", n, err)
	}
	if state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS); err != nil || state.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal was left without an echo: %v", err)
	}
}
