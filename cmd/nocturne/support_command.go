package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// supportFlags say whom to ask, as whom, and where the answer goes.
type supportFlags struct {
	serverFlags
	config, listen, out string
	timeout             time.Duration
}

func supportCommand() *cobra.Command {
	f := &supportFlags{}
	c := &cobra.Command{
		Use: "support --token-file FILE", Short: "Fetch a bundle that helps to find a fault, without secrets", Args: cobra.NoArgs,
		Long: "Asks the running server: this machine's, or the one that --server names. The token is one of an administrator, made on the page\n" +
			"Administration > API tokens; it stands in a file, since arguments can be seen by everybody on a machine. README.txt in the bundle\n" +
			"says what is in it.",
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
			defer cancel()
			n, err := f.fetch(ctx)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", f.out, byteSize(n))
			return err
		},
	}
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration file, for where the server listens")
	c.Flags().StringVar(&f.listen, "listen", "", "address:port that the server on this machine listens on (default from the configuration)")
	f.serverFlags.addTo(c.Flags())
	c.Flags().StringVarP(&f.out, "out", "o", "nocturne-support.tar.gz", "the file to write; it must not exist")
	c.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait for the whole of it")
	_ = c.MarkFlagRequired("token-file") // fails only for a flag that is not there
	return c
}

// fetch writes the bundle, and returns its size.
func (f *supportFlags) fetch(ctx context.Context) (int64, error) {
	if f.listen == "" && f.server == "" {
		cfg, err := LoadConfig(f.config)
		if err != nil {
			return 0, err
		}
		f.listen = cfg.Listen
	}
	ask, err := f.api(f.listen)
	if err != nil {
		return 0, err
	}
	bundle, err := ask.open(ctx, http.MethodGet, "/support", nil)
	if err != nil {
		return 0, err
	}
	n, err := writeNew(f.out, bundle)
	return n, errors.Join(err, bundle.Close())
}

// writeNew writes a file that is not there yet, whole or not at all, for its
// owner alone.
func writeNew(name string, from io.Reader) (n int64, err error) {
	if _, err := os.Lstat(name); err == nil {
		return 0, fmt.Errorf("write %s: there is such a file already", name)
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".nocturne-support-*") // mode 0600
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(tmp.Name()))
		}
	}()
	if n, err = io.Copy(tmp, from); err != nil {
		return 0, errors.Join(err, tmp.Close())
	}
	if err = errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return 0, err
	}
	return n, os.Rename(tmp.Name(), name)
}
