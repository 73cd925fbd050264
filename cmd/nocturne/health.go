package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func healthCommand() *cobra.Command {
	var path, listen string
	var live bool
	var timeout time.Duration
	c := &cobra.Command{
		Use: "health", Short: "Ask the server on this machine whether it does its work", Args: cobra.NoArgs,
		Long: "Asks /readyz where the configuration says that the server listens, and prints what is not ready. It ends with 0 when all is\n" +
			"ready and with 1 otherwise: the health check of a container. With --live it asks /healthz: whether the process answers at all,\n" +
			"which is what a supervisor should know that restarts; a full disk or a store elsewhere that is down is no better after a restart.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := LoadConfig(path)
			if err != nil {
				return err
			}
			if listen == "" {
				listen = cfg.Listen
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			question := "/readyz"
			if live {
				question = "/healthz"
			}
			said, err := askHealth(ctx, listen, question)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), said)
			return err
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	c.Flags().StringVar(&listen, "listen", "", "address:port that the server listens on (default from the configuration: 127.0.0.1:8080)")
	c.Flags().BoolVar(&live, "live", false, "ask only whether the process answers")
	c.Flags().DurationVar(&timeout, "timeout", 4*time.Second, "how long to wait for the answer")
	return c
}

// askHealth returns what the server says of itself, or an error with what is
// not well. No secret is sent, so any certificate of this machine's will do.
func askHealth(ctx context.Context, listen, question string) (string, error) {
	ask, err := newHere(listen)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, ask.base+question, nil)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", listen, err)
	}
	resp, err := ask.do(r)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", listen, err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status string   `json:"status"`
		Faults []string `json:"faults"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return "", fmt.Errorf("ask %s: the answer %s is none of nocturne's: %w", listen, resp.Status, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(answer.Status + ": " + strings.Join(answer.Faults, "; "))
	}
	return answer.Status, nil
}
