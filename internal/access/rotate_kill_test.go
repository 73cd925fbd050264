package access

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/state"
)

// What makes this test binary the process that TestKilledRotations kills.
const (
	childDir    = "NOCTURNE_ACCESS_CHILD"
	childSource = "NOCTURNE_ACCESS_SOURCE"
	childRound  = "NOCTURNE_ACCESS_ROUND"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, rotateUntilKilled(dir, os.Getenv(childSource), os.Getenv(childRound)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	killWorkers = 4
	roundSize   = 1_000_000 // versions a round, more than it comes to
)

func killSource(dir, kind string) KeySource {
	if kind == "file" {
		return KeySource{File: filepath.Join(dir, "keys", "master")}
	}
	return KeySource{PassphraseFile: filepath.Join(dir, "keys", "words"), memory: cheap}
}

// rotateUntilKilled puts, deletes and rotates without an end, and says on
// stdout what was acknowledged.
func rotateUntilKilled(dir, kind, round string) error {
	base, err := strconv.Atoi(round)
	if err != nil {
		return err
	}
	db, err := state.Open(state.Options{Dir: filepath.Join(dir, "state"), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	chain, err := ledger.Open(db)
	if err != nil {
		return err
	}
	source := killSource(dir, kind)
	a, err := Open(Options{State: db, Ledger: chain, Key: source})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range killWorkers {
		go func() {
			for i := base * roundSize; ; i++ {
				if err := putVersion(a.Vault(), w, i); err != nil {
					failed <- err
				}
				fmt.Printf("%d %d\n", w, i)
			}
		}()
	}
	go func() {
		for i := 0; ; i++ {
			if err := offerPassphrase(source, fmt.Sprintf("%s %s/%d\n", passphrase.Reveal(), round, i)); err != nil {
				failed <- err
			}
			if _, err := a.Vault().Rotate(context.Background(), System, RotateOptions{Keep: i%2 == 0}); err != nil {
				failed <- err
			}
			fmt.Println("rotated")
		}
	}()
	return <-failed
}

// offerPassphrase is what an operator does before a rotation.
func offerPassphrase(s KeySource, text string) error {
	if s.PassphraseFile == "" {
		return nil
	}
	next := s.PassphraseFile + nextSuffix
	if err := os.WriteFile(next+"~", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next+"~", next)
}

// putVersion is the ith thing that worker w does to its credential: each
// seventh deletes it.
func putVersion(v *Vault, w, i int) error {
	name := fmt.Sprint("leafs-", w)
	if i%7 == 6 {
		if err := v.Delete(context.Background(), System, name); !errors.Is(err, ErrNotFound) {
			return err
		}
		return nil
	}
	return v.Put(context.Background(), System, name, "snmp", credential{Key: planted(w, i)})
}

func planted(w, i int) secret.Text { return secret.Text(fmt.Sprintf("PLANTED-SECRET-%d-%d", w, i)) }

// TestKilledRotations kills a process at random moments while it rotates keys
// under puts and deletions. Whatever key files lie there then, every
// credential opens as it was acknowledged last, and no secret stands anywhere
// else. Rounds: NOCTURNE_ROUNDS, 3 of each kind by default.
func TestKilledRotations(t *testing.T) {
	rounds := 3
	if s := os.Getenv("NOCTURNE_ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatalf("NOCTURNE_ROUNDS: %v", err)
		}
	} else if testing.Short() {
		rounds = 1
	}
	for _, kind := range []string{"file", "passphrase"} {
		t.Run(kind, func(t *testing.T) {
			_, r := need.Seed(t)
			dir := t.TempDir()
			if kind != "file" {
				write(t, killSource(dir, kind).PassphraseFile, passphrase.Reveal())
			}
			k := &killed{t: t, dir: dir, kind: kind, last: map[int]int{}, met: map[string]int{}}
			for round := range rounds {
				k.round(round, max(1-round, r.IntN(3)), 10+r.IntN(150))
			}
			t.Logf("%d kills, %d acknowledged, %d rotations; the moments met: %v", rounds, k.acked, k.rotations, k.met)
			if k.rotations == 0 {
				t.Error("no rotation was ended")
			}
		})
	}
}

type killed struct {
	t                *testing.T
	dir, kind        string
	first            int         // version of the round that was killed
	last             map[int]int // by worker, what was acknowledged last
	acked, rotations int
	met              map[string]int // by stage of the rotation
	secrets          []string       // keys and passphrases that were seen in files
}

// round kills after so many lines that follow so many rotations.
func (k *killed) round(n, rotations, after int) {
	k.t.Helper()
	k.first = (n + 1) * roundSize
	cmd := exec.CommandContext(k.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+k.dir, childSource+"="+k.kind, fmt.Sprint(childRound, "=", n+1))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	check(k.t, err)
	check(k.t, cmd.Start())
	seen, ended := 0, k.rotations+rotations
	for lines := bufio.NewScanner(out); lines.Scan(); {
		k.look(lines.Text())
		if k.rotations < ended {
			continue
		}
		if seen++; seen == after {
			k.processList(cmd.Process.Pid)
			check(k.t, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); err == nil || seen < after {
		k.t.Fatalf("the process ended by itself after %d lines: %v\n%s", seen, err, errs.String())
	}
	k.collect()
	k.nowhere("its log", errs.String())
	k.nowhereIn("after the kill")
	p := openState(k.t, k.dir)
	k.met[k.stage(p)]++
	if p.Access, err = Open(Options{State: p.state, Ledger: p.ledger, Key: killSource(k.dir, k.kind)}); err != nil {
		k.t.Fatalf("after the kill: %v", err)
	}
	k.judge(p)
	check(k.t, p.state.Close())
	k.collect()
	k.nowhereIn("after the start")
}

// look takes one line of what the child acknowledged; the last may be cut.
func (k *killed) look(line string) {
	var w, i int
	if line == "rotated" {
		k.rotations++
	} else if n, _ := fmt.Sscan(line, &w, &i); n == 2 && i >= k.first && i < k.first+roundSize {
		k.last[w] = max(k.last[w], i)
		k.acked++
	}
}

// judge holds each credential against what was acknowledged last, or what the
// kill caught under way.
func (k *killed) judge(p *place) {
	k.t.Helper()
	for w := range killWorkers {
		next := k.first
		if k.last[w] >= k.first {
			next = k.last[w] + 1
		}
		var got credential
		_, err := p.Vault().Open(fmt.Sprint("leafs-", w), &got)
		is := func(i int) bool {
			if i == 0 || i%7 == 6 {
				return errors.Is(err, ErrNotFound)
			}
			return err == nil && got.Key == planted(w, i)
		}
		if !is(k.last[w]) && !is(next) {
			k.t.Errorf("worker %d: %q, %v; acknowledged was %d", w, got.Key.Reveal(), err, k.last[w])
		}
	}
	s, err := p.Vault().Key()
	if err != nil || s.To != "" || s.Fault != "" || s.Others != 0 {
		k.t.Errorf("after the start: %+v, %v", s, err)
	}
	if c, err := p.Vault().Verify(); err != nil || c.Broken != nil {
		k.t.Errorf("verified %+v, %v", c, err)
	}
}

// stage says how far the rotation had come that was killed.
func (k *killed) stage(p *place) string {
	source := killSource(k.dir, k.kind)
	_, nerr := os.Stat(source.File + source.PassphraseFile + nextSuffix)
	records := p.records(k.t)
	at, to, going := strings.Cut(records, `"To":"`)
	switch {
	case !going && nerr != nil:
		return "between rotations"
	case !going:
		return "a key is offered"
	}
	to, _, _ = strings.Cut(to, `"`)
	at, proof, _ := strings.Cut(at, checkKind+"/"+checkName)
	sealedBy := `"KeyID":"` + to
	switch n := strings.Count(at, sealedBy); {
	case nerr != nil:
		return "the key is in its place"
	case strings.Contains(proof, sealedBy):
		return "the check is sealed anew"
	case n > 0:
		return "some records are sealed anew"
	}
	return "the rotation is recorded"
}

// collect gathers what the files of keys hold, in each form it may leak.
func (k *killed) collect() {
	files, err := killSource(k.dir, k.kind).Files()
	check(k.t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // it was replaced just now
		}
		check(k.t, err)
		text := strings.TrimSpace(string(b))
		if len(text) < minPassphrase {
			continue // a file that is being written
		}
		k.secrets = append(k.secrets, text)
		if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) == 32 {
			k.secrets = append(k.secrets, string(raw), hex.EncodeToString(raw))
		}
	}
	slices.Sort(k.secrets)
	k.secrets = slices.Compact(k.secrets)
}

func (k *killed) processList(pid int) {
	k.t.Helper()
	k.collect()
	for _, name := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil || len(b) == 0 {
			k.t.Errorf("%s of the process: %d bytes, %v", name, len(b), err)
		}
		k.nowhere("its "+name, string(b))
	}
}

func (k *killed) nowhere(where, text string) {
	k.t.Helper()
	for _, s := range append(k.secrets, "PLANTED-SECRET", passphrase.Reveal()) {
		if strings.Contains(text, s) {
			k.t.Errorf("%q stands in %s", s, where)
		}
	}
}

func (k *killed) nowhereIn(when string) {
	k.t.Helper()
	find(k.t, filepath.Join(k.dir, "state"), when, append(k.secrets, "PLANTED-SECRET", passphrase.Reveal()))
}
