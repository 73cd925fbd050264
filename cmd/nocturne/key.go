package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nocturne/internal/access"
	"nocturne/internal/secret"
)

// keyKeeper is whoever has the vault open.
type keyKeeper interface {
	Key(ctx context.Context) (access.KeyStatus, error)
	Check(ctx context.Context) (access.KeyCheck, error)
	Rotate(ctx context.Context, keep bool, passphrase secret.Text) (access.Rotated, error)
	Close() error
}

func keyCommand() *cobra.Command {
	f := &keyFlags{}
	c := &cobra.Command{
		Use: "key", Short: "Look at the master key of sealed credentials, check it, rotate it",
		Long: "While a server holds the data folder these commands ask that server, and need an administrator's token (--token-file);\n" +
			"otherwise they open the folder themselves. No key and no passphrase is ever printed or taken from the command line.",
	}
	p := c.PersistentFlags()
	p.StringVarP(&f.config, "config", "c", "", "configuration file")
	p.StringVar(&f.data, "data", "", "folder that holds everything stored (default from the configuration: ./data)")
	f.serverFlags.addTo(p)
	p.BoolVar(&f.json, "json", false, "print JSON instead of text")
	c.AddCommand(keyShowCommand(f), keyCheckCommand(f), keyRotateCommand(f))
	return c
}

// with opens the vault for the time of do.
func (f *keyFlags) with(ctx context.Context, do func(keyKeeper) error) (err error) {
	k, err := f.keeper(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	return do(k)
}

func keyShowCommand(f *keyFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Say which key is in use, since when, where it comes from and what it seals", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), func(k keyKeeper) error {
				s, err := k.Key(c.Context())
				if err != nil {
					return err
				}
				return f.print(c.OutOrStdout(), s, func(w io.Writer) { writeKeyStatus(w, s) })
			})
		},
	}
}

func writeKeyStatus(w io.Writer, s access.KeyStatus) {
	fmt.Fprintf(w, "key\t%s\nsource\t%s\nsince\t%s\nseals\t%d credentials\n", s.ID, s.Source, s.Since.Format(time.RFC3339), s.Records)
	if s.Others > 0 {
		fmt.Fprintf(w, "others\t%d credentials are not sealed by it: see `nocturne key check`\n", s.Others)
	}
	if s.To != "" {
		fmt.Fprintf(w, "rotation\tto %s, begun %s\n", s.To, s.Started.Format(time.RFC3339))
	}
	if s.Fault != "" {
		fmt.Fprintf(w, "fault\t%s\n", s.Fault)
	}
}

func keyCheckCommand(f *keyFlags) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Open every sealed credential; those that do not open are named", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), func(k keyKeeper) error {
				r, err := k.Check(c.Context())
				if err != nil {
					return err
				}
				if err := f.print(c.OutOrStdout(), r, func(w io.Writer) { fmt.Fprintf(w, "%d credentials open\n", r.Good) }); err != nil {
					return err
				}
				return brokenSeals(r.Broken)
			})
		},
	}
}

func brokenSeals(names []string) error {
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%d credential(s) do not open with any key and were left as they are: %s: seal them again", len(names), strings.Join(names, ", "))
}

func keyRotateCommand(f *keyFlags) *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use: "rotate", Short: "Seal every credential under a new key and retire the one in use, without a stop", Args: cobra.NoArgs,
		Long: "A key file gets a new key by itself. A passphrase file or a systemd credential offers the new one as NAME.next, and\n" +
			"master_key.next in the configuration leads to another place; a passphrase that is asked for is asked for anew.\n" +
			"A rotation that was cut short is finished. A backup of the state from before opens with the retired key alone.",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), func(k keyKeeper) error {
				r, err := rotateKey(c.Context(), k, keep)
				if err != nil {
					return err
				}
				if err := f.print(c.OutOrStdout(), r, func(w io.Writer) {
					fmt.Fprintf(w, "%d credentials are sealed anew by key %s\nkey %s is retired; backups of the state from before need it\n", r.Records, r.To, r.From)
				}); err != nil {
					return err
				}
				return brokenSeals(r.Broken)
			})
		},
	}
	c.Flags().BoolVar(&keep, "keep-old", false, "leave the file of the retired key as NAME.old-ID")
	return c
}

func rotateKey(ctx context.Context, k keyKeeper, keep bool) (access.Rotated, error) {
	s, err := k.Key(ctx)
	if err != nil {
		return access.Rotated{}, err
	}
	var passphrase secret.Text
	if s.Asks && s.To == "" {
		if passphrase, err = askTerminal("The new passphrase of the master key"); err != nil {
			return access.Rotated{}, err
		}
		again, err := askTerminal("The same again")
		if err != nil {
			return access.Rotated{}, err
		}
		if passphrase != again {
			return access.Rotated{}, errors.New("the two passphrases differ; nothing was changed")
		}
	}
	return k.Rotate(ctx, keep, passphrase)
}

// tellKey leaves in the log which key the program runs with.
func tellKey(log *slog.Logger, v *access.Vault) error {
	s, err := v.Key()
	if err != nil {
		return fmt.Errorf("look at the master key: %w", err)
	}
	log = log.With("component", "access", "key", s.ID, "source", s.Source)
	log.Info("the vault is open", "credentials", s.Records)
	if s.Others > 0 {
		log.Warn("credentials are not sealed by the key in use", "credentials", s.Others)
	}
	if s.Fault != "" {
		log.Error("a rotation of the master key was not finished", "to", s.To, "err", s.Fault)
	}
	return nil
}
