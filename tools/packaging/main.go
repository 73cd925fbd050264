// Command packaging makes what is handed out, of one build: the static binary,
// a Debian and an RPM package, the folder of the container, a bill of
// materials, the licences of all that is in the binary, and the sums of these.
// The same commit gives the same bytes, wherever and whenever it is built.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// release is one run's input.
type release struct {
	root    string // of the repository
	out     string // folder for what is made
	version string
	binary  string // built already; "" is to be built
	config  string // the packages' default configuration
	made    time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	var r release
	var only bool
	f := flag.NewFlagSet("packaging", flag.ContinueOnError)
	f.StringVar(&r.root, "root", "../..", "folder of the repository")
	f.StringVar(&r.out, "out", "", "folder for what is made (default: dist in the repository)")
	f.StringVar(&r.version, "version", "", "version of the packages (default: described from the commit)")
	f.StringVar(&r.binary, "binary", "", "pack this binary instead of building one")
	f.StringVar(&r.config, "config", "", "the packages' default configuration (default: nocturne.yaml beside this program)")
	f.BoolVar(&only, "print-version", false, "print the version and end")
	if err := f.Parse(args); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	if only {
		fmt.Println(r.version)
		return nil
	}
	return r.make(ctx)
}

// settle fills in what was not given.
func (r *release) settle(ctx context.Context) (err error) {
	if r.root, err = filepath.Abs(r.root); err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	if r.out == "" {
		r.out = filepath.Join(r.root, "dist")
	}
	if r.out, err = filepath.Abs(r.out); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if r.config == "" {
		r.config = r.ours("nocturne.yaml")
	}
	if r.version == "" {
		if r.version, err = describe(ctx, r.root); err != nil {
			return err
		}
	}
	if err := checkVersion(r.version); err != nil {
		return fmt.Errorf("--version: %w", err)
	}
	r.made, err = commitTime(ctx, r.root)
	return err
}

// ours is a file beside this program.
func (r *release) ours(name string) string { return filepath.Join(r.root, "tools", "packaging", name) }

// make makes everything, in out.
func (r *release) make(ctx context.Context) (err error) {
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return fmt.Errorf("make the folder for what is made: %w", err)
	}
	stage, err := os.MkdirTemp("", "nocturne-packaging-")
	if err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	binary := filepath.Join(r.out, "nocturne")
	if err := r.build(ctx, binary); err != nil {
		return err
	}
	bill, err := r.bill(ctx, binary)
	if err != nil {
		return err
	}
	made := []string{"nocturne", "nocturne.cdx.json", "LICENSES.txt"}
	if err := errors.Join(bill.writeJSON(filepath.Join(r.out, made[1])), bill.writeLicences(filepath.Join(r.out, made[2]))); err != nil {
		return err
	}
	if err := stageText(ctx, binary, stage); err != nil {
		return err
	}
	packages, err := r.pack(stage)
	if err != nil {
		return err
	}
	if err := r.container(binary); err != nil {
		return err
	}
	return writeSums(r.out, append(made, packages...))
}

// build builds the binary as the Makefile does, or copies the one that is given.
func (r *release) build(ctx context.Context, to string) error {
	if r.binary != "" {
		return copyFile(r.binary, to, 0o755)
	}
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", r.root, "build", "VERSION="+r.version, "BIN="+to)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the binary: %w", err)
	}
	return nil
}

// commitTime is the time that everything made bears: SOURCE_DATE_EPOCH, else
// that of the last commit.
func commitTime(ctx context.Context, root string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := git(ctx, root, "log", "-1", "--format=%ct")
		if err != nil {
			return time.Time{}, fmt.Errorf("%w\nset SOURCE_DATE_EPOCH where there is no commit to take the time from", err)
		}
		text = out
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %q is no number of seconds", text)
	}
	return time.Unix(n, 0).UTC(), nil
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
