package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"nocturne/internal/secret"
)

// askTerminal asks whoever sits at standard input for a secret, without an
// echo. An interrupt ends the asking and leaves the terminal as it was.
func askTerminal(question string) (secret.Text, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return "", errors.New("standard input is no terminal, so nobody can be asked: use passphrase_file or passphrase_credential")
	}
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("look at the terminal: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Fprint(os.Stderr, question+": ")
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		fmt.Fprintln(os.Stderr)
		if a.err != nil {
			return "", fmt.Errorf("read the terminal: %w", a.err)
		}
		return secret.Text(a.line), nil
	case <-ctx.Done():
		// The reader stays behind: no read of a terminal can be called off.
		return "", errors.Join(errors.New("interrupted"), term.Restore(fd, before))
	}
}
