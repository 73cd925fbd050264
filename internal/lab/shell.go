package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// interpret runs a shell command on the simulated machine. Nothing of it
// reaches the machine that the lab runs on: every program is one of commands,
// every file one of the machine's, and there is no process to start.
func (h *host) interpret(ctx context.Context, command string, stdout, stderr io.Writer) int {
	prog, err := syntax.NewParser().Parse(strings.NewReader(command), "command")
	if err != nil {
		fmt.Fprintf(stderr, "sh: %v\n", err)
		return 2
	}
	// The interpreter's $$ is the process that the lab runs in.
	syntax.Walk(prog, func(n syntax.Node) bool {
		if p, ok := n.(*syntax.ParamExp); ok && p.Param != nil && p.Param.Value == "$" {
			p.Param.Value = "LAB_PID"
		}
		return true
	})
	pid, end := h.scratch.begin()
	defer end()
	runner, err := interp.New(
		interp.Env(expand.ListEnviron("PATH=/usr/bin", "HOME=/home/ops", "USER=ops", "LANG=C", "LAB_PID="+strconv.Itoa(pid))),
		interp.CallHandler(func(_ context.Context, args []string) ([]string, error) { return outward(args), nil }),
		interp.StdIO(nil, stdout, stderr),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return h.exec }),
		interp.OpenHandler(h.open),
		interp.StatHandler(h.stat),
		interp.AccessHandler(func(_ context.Context, p string, _ interp.AccessMode) error {
			_, err := h.file(p)
			return err
		}),
		interp.ReadDirHandler2(func(_ context.Context, p string) ([]fs.DirEntry, error) {
			return nil, &os.PathError{Op: "readdir", Path: p, Err: fs.ErrNotExist}
		}),
	)
	if err != nil {
		fmt.Fprintf(stderr, "sh: %v\n", err)
		return 126
	}
	err = runner.Run(ctx, prog)
	if status, ok := errors.AsType[interp.ExitStatus](err); ok {
		return int(status)
	}
	if err != nil {
		fmt.Fprintf(stderr, "sh: %v\n", err)
		return 1
	}
	return 0
}

// exec is a program of the simulated machine.
func (h *host) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	exit := 0
	switch path.Base(args[0]) {
	case "systemctl":
		exit = h.systemctl(ctx, args[1:], hc.Stdout, hc.Stderr)
	case "cat":
		exit = h.cat(args[1:], hc.Stdout, hc.Stderr)
	case "hostname":
		fmt.Fprintln(hc.Stdout, h.name)
	case "uname":
		fmt.Fprintln(hc.Stdout, h.machine.uname(args[1:]))
	case "df":
		fmt.Fprint(hc.Stdout, h.machine.df(args[1:]))
	case "stat":
		var text string
		text, exit = h.machine.statFS(args[1:])
		fmt.Fprint(hc.Stdout, text)
	case "date":
		fmt.Fprintln(hc.Stdout, time.Now().Unix())
	case "id":
		fmt.Fprintln(hc.Stdout, "uid=1000(ops) gid=1000(ops) groups=1000(ops)")
	case "mkdir":
		exit = h.scratch.mkdir(args[1:], hc.Stderr)
	case "rm":
		exit = h.scratch.rm(args[1:])
	case "kill":
		exit = h.scratch.kill(args, hc.Stderr)
	case "umask":
	case "sleep":
		exit = sleep(ctx, args[1:])
	case "sudo":
		if rest := slices.DeleteFunc(args[1:], func(s string) bool { return s == "-n" }); len(rest) > 0 {
			return h.exec(ctx, rest)
		}
	default:
		fmt.Fprintf(hc.Stderr, "sh: %s: not found\n", args[0])
		exit = 127
	}
	if exit != 0 {
		return interp.ExitStatus(exit)
	}
	return nil
}

func sleep(ctx context.Context, args []string) int {
	if len(args) != 1 {
		return 1
	}
	d, err := time.ParseDuration(args[0] + "s")
	if err != nil {
		return 1
	}
	select {
	case <-time.After(d):
		return 0
	case <-ctx.Done():
		return 1
	}
}

func (h *host) cat(args []string, stdout, stderr io.Writer) int {
	exit := 0
	for _, name := range args {
		if name == "--" {
			continue
		}
		text, err := h.file(name)
		if err != nil {
			fmt.Fprintf(stderr, "cat: %s: No such file or directory\n", name)
			exit = 1
			continue
		}
		_, _ = io.WriteString(stdout, text)
	}
	return exit
}

type nothing struct{}

func (nothing) Read([]byte) (int, error)    { return 0, io.EOF }
func (nothing) Write(b []byte) (int, error) { return len(b), nil }
func (nothing) Close() error                { return nil }

type readOnly struct{ io.Reader }

func (readOnly) Write([]byte) (int, error) { return 0, fs.ErrPermission }
func (readOnly) Close() error              { return nil }

func (h *host) open(_ context.Context, p string, flag int, _ os.FileMode) (io.ReadWriteCloser, error) {
	if p == "/dev/null" {
		return nothing{}, nil
	}
	if flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		return h.scratch.create(p, flag)
	}
	text, err := h.file(p)
	if err != nil {
		return nil, err
	}
	return readOnly{strings.NewReader(text)}, nil
}

func (h *host) stat(_ context.Context, p string, _ bool) (fs.FileInfo, error) {
	if slices.Contains([]string{"/usr/bin/systemctl", "/usr/bin/cat", "/usr/bin/df", "/usr/bin/stat", "/usr/bin/uname", "/usr/bin/hostname", "/usr/bin/date", "/usr/bin/id"}, p) {
		return info{path.Base(p), 0o755}, nil
	}
	if p == "/" || p == "/run/systemd/system" || h.scratch.has(p+"/") {
		return info{path.Base(p), fs.ModeDir | 0o755}, nil
	}
	if _, err := h.file(p); err != nil {
		return nil, err
	}
	return info{path.Base(p), 0o444}, nil
}

type info struct {
	name string
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return 0 }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
