package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	var path, data, listen string
	c := &cobra.Command{
		Use: "serve", Short: "Run: collect, remember, judge, act and show", Args: cobra.NoArgs,
		Long: "Without a configuration it monitors this machine, keeps its data in ./data and shows it on http://127.0.0.1:8080.",
		RunE: func(c *cobra.Command, _ []string) error {
			load := func() (Config, error) { return loadServed(path, data, listen) }
			cfg, err := load()
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg, c.OutOrStdout(), func(h *house) {
				if path != "" {
					h.reloadable(path, load)
				}
			})
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	c.Flags().StringVar(&data, "data", "", "folder that holds everything stored (default from the configuration: ./data)")
	c.Flags().StringVar(&listen, "listen", "", "address:port of the pages; off loopback over TLS (default from the configuration: 127.0.0.1:8080)")
	return c
}

// loadServed is the configuration with what the flags say otherwise.
func loadServed(path, data, listen string) (Config, error) {
	cfg, err := LoadConfig(path)
	if err != nil {
		return cfg, err
	}
	cfg.Data, cfg.Listen = cmp.Or(data, cfg.Data), cmp.Or(listen, cfg.Listen)
	if listen != "" {
		f := &faults{file: "--listen"}
		cfg.validateListen(f)
		return cfg, errors.Join(f.errs...)
	}
	return cfg, nil
}

// serve opens the house, says where it is, and runs it until ctx ends. ready,
// where given, is called with the open house before anything runs.
func serve(ctx context.Context, cfg Config, out io.Writer, ready func(*house)) (err error) {
	hangup, stop := hangups()
	defer stop()
	log := logger(cfg.Log)
	limitMemory(log)
	h, err := openHouse(cfg, log, false)
	if err != nil {
		return err
	}
	h.hangup = hangup
	smallHeap()
	forgetStart(log)
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := h.announce(out); err != nil {
		return err
	}
	if ready != nil {
		ready(h)
	}
	return h.Run(ctx)
}

// announce prints where the pages are, and the one-time link for the first
// administrator while there is nobody.
func (h *house) announce(out io.Writer) error {
	fmt.Fprintf(out, "nocturne %s on %s\n", version, h.address())
	h.announceCertificate(out)
	token, needed, err := h.access.SetupToken()
	if err != nil {
		return fmt.Errorf("make the set-up link: %w", err)
	}
	if needed {
		fmt.Fprintf(out, "Nobody can sign in yet. Make the first administrator here (works once, until the next start):\n  %s/setup?token=%s\n", h.address(), token)
	}
	return nil
}
