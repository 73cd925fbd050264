package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nocturne/internal/access"
	"nocturne/internal/backup"
	"nocturne/internal/ledger"
	"nocturne/internal/sshconn"
	"nocturne/internal/state"
)

// backupFlags are those of a backup of everything.
type backupFlags struct {
	tsdbFlags
	placeFlags
	serverFlags
	recheck, withKey bool
}

func (f *tsdbFlags) load() (Config, error) {
	cfg, err := LoadConfig(f.config)
	if f.data != "" {
		cfg.Data = f.data
	}
	return cfg, err
}

func everythingBackupCommand() *cobra.Command {
	f := &backupFlags{}
	c := &cobra.Command{
		Use: "backup [--to PLACE]", Short: "Back up everything: state, ledger, history and configuration", Args: cobra.NoArgs,
		Long: "PLACE is a folder, sftp://host:22/folder or s3://bucket/prefix?endpoint=https://host; without it, the configured backup.to.\n" +
			"While a server runs on the data it makes the backup itself: give an administrator's token with --token-file. Otherwise the data\n" +
			"are read here. The master key is left out unless --with-key asks for it.",
		RunE: func(c *cobra.Command, _ []string) error { return f.backup(c) },
	}
	f.add(c)
	c.Flags().StringVar(&f.to, "to", "", "where to (default from the configuration: backup.to)")
	c.Flags().BoolVar(&f.recheck, "recheck", false, "read all that the store holds already and copy anew what is damaged")
	c.Flags().BoolVar(&f.withKey, "with-key", false, "take the master key along: who has the backup can then open every credential in it")
	f.serverFlags.addTo(c.Flags())
	c.AddCommand(everythingListCommand(), everythingPruneCommand(), drillCommand())
	return c
}

// add adds what all commands over backups share.
func (f *backupFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration file")
	c.Flags().StringVar(&f.data, "data", "", "folder that holds everything stored (default from the configuration: ./data)")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON instead of text")
	c.Flags().StringVar(&f.credential, "credential", "", "name of the credential for the store (default from the configuration: backup.credential)")
	c.Flags().StringVar(&f.credentialFile, "credential-file", "", "file with that credential, as an entry of credentials without its name")
	c.Flags().StringVar(&f.knownHosts, "known-hosts", "", "host keys for sftp (default from the configuration: ssh.known_hosts)")
}

func (f *backupFlags) backup(c *cobra.Command) error {
	cfg, err := f.load()
	if err != nil {
		return err
	}
	at := f.place(cfg)
	if f.to != "" && !strings.Contains(f.to, "://") {
		if at.To, err = filepath.Abs(f.to); err != nil {
			return err
		}
	}
	if at.To == "" {
		return errors.New("where to? name a place with --to, or configure backup.to")
	}
	if f.server == "" {
		held, err := isHeld(filepath.Join(cfg.Data, "state"))
		if err != nil {
			return fmt.Errorf("there is nothing to back up: %w; name the server's --data or --config", err)
		}
		if !held {
			return f.direct(c, cfg, at)
		}
		if f.tokenFile == "" {
			return fmt.Errorf("a server has %s open, and makes its backups itself: give an administrator's token (page Administration > Tokens) with --token-file", cfg.Data)
		}
	}
	if f.credentialFile != "" {
		return errors.New("the server opens the store, with a credential that is sealed there: name it with --credential, not --credential-file")
	}
	if f.to != "" {
		f.to = at.To // a folder with its whole path, as the server stands elsewhere
	}
	api, err := f.api(cfg.Listen)
	if err != nil {
		return err
	}
	show, end := progress(c.ErrOrStderr(), "backup", true)
	made, err := askServer(c.Context(), api, askedBackup{To: f.to, Credential: f.credential, Recheck: f.recheck, WithKey: f.withKey}, show)
	end()
	if err != nil {
		return err
	}
	return f.report(c, at, made)
}

// direct reads the data in this process.
func (f *backupFlags) direct(c *cobra.Command, cfg Config, at backup.Place) (err error) {
	lock, err := lockData(cfg.Data, "nocturne backup")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	db, err := state.Open(state.Options{Dir: filepath.Join(cfg.Data, "state"), Log: logger(cfg.Log)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	chain, err := ledger.Open(db)
	if err != nil {
		return err
	}
	store, err := f.openDirect(c.Context(), cfg, at, db, chain)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	show, end := progress(c.ErrOrStderr(), "backup", true)
	r, err := backup.MakeWhole(c.Context(), cfg.source(db, chain), store, backup.Options{Recheck: f.recheck, WithKey: f.withKey, Progress: show})
	end()
	if err != nil {
		return err
	}
	return f.report(c, at, madeBackup{Generation: r.Name, Time: r.Time, Files: r.Files, Bytes: r.Bytes, CopiedFiles: r.CopiedFiles, CopiedBytes: r.CopiedBytes,
		Records: r.Records, LedgerSeq: r.Ledger.Seq, LedgerHash: r.Ledger.Hash, Seconds: r.Took.Seconds(), WithKey: r.WithKey, Faults: r.Faults})
}

// openDirect opens the store with what stands in files, else with what is
// sealed in the state.
func (f *backupFlags) openDirect(ctx context.Context, cfg Config, at backup.Place, db *state.DB, chain *ledger.Chain) (backup.Store, error) {
	inFiles := at.Credential == "" || f.credentialFile != ""
	for _, e := range cfg.Credentials {
		inFiles = inFiles || e.Name == at.Credential
	}
	if inFiles {
		keys, err := f.keys(cfg)
		if err != nil {
			return nil, err
		}
		return keys.open(ctx, at, true)
	}
	people, err := access.Open(access.Options{State: db, Ledger: chain, Key: cfg.masterKey()})
	if err != nil {
		return nil, err
	}
	known, err := openHostKeys(db, cfg.SSH.KnownHosts)
	if err != nil {
		return nil, err
	}
	pool, err := sshconn.New(sshconn.Options{HostKeys: known, Credential: credentialOf[sshconn.Credential](people.Vault(), "ssh")})
	if err != nil {
		return nil, err
	}
	return sealedKeys(people.Vault(), pool).open(ctx, at, true)
}

func (f *backupFlags) report(c *cobra.Command, at backup.Place, m madeBackup) error {
	for _, fault := range m.Faults {
		fmt.Fprintln(c.ErrOrStderr(), "damaged there:", fault)
	}
	return f.print(c.OutOrStdout(), m, func(w io.Writer) {
		fmt.Fprintf(w, "generation %s at %s: %d records, ledger up to entry %d, %d files of %s\n", m.Generation, at.To, m.Records, m.LedgerSeq, m.Files, byteSize(m.Bytes))
		fmt.Fprintf(w, "copied and read back %s in %d files, in %s\n", byteSize(m.CopiedBytes), m.CopiedFiles, time.Duration(m.Seconds*float64(time.Second)).Round(10*time.Millisecond))
		if !m.WithKey {
			fmt.Fprintln(w, "the master key is not in it: keep a copy of it elsewhere, or nobody can open the credentials in it")
		}
	})
}

// reading opens the store that a command reads from or prunes.
func (f *backupFlags) reading(ctx context.Context, write bool) (Config, backup.Store, error) {
	cfg, err := f.load()
	if err != nil {
		return cfg, nil, err
	}
	at := f.place(cfg)
	if at.To == "" {
		return cfg, nil, errors.New("from where? name a place with --from, or configure backup.to")
	}
	keys, err := f.keys(cfg)
	if err != nil {
		return cfg, nil, err
	}
	store, err := keys.open(ctx, at, write)
	return cfg, store, err
}

func everythingListCommand() *cobra.Command {
	f := &backupFlags{}
	c := &cobra.Command{
		Use: "list --from PLACE", Short: "List the generations at a place", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			_, store, err := f.reading(c.Context(), false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			all, err := backup.List(c.Context(), store)
			if err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), all, func(w io.Writer) {
				fmt.Fprint(w, "GENERATION\tKIND\tSTATE AS OF\n")
				for _, g := range all {
					fmt.Fprintf(w, "%s\t%s\t%s\n", g.Name, g.Kind, g.Time.Format(time.RFC3339))
				}
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.to, "from", "", "the place (default from the configuration: backup.to)")
	return c
}

func everythingPruneCommand() *cobra.Command {
	f := &backupFlags{}
	keep := 0
	c := &cobra.Command{
		Use: "prune --from PLACE --keep N", Short: "Remove old generations, and what only they named; not while a backup is made", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			_, store, err := f.reading(c.Context(), true)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			p, err := backup.Prune(c.Context(), store, keep)
			if err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), p, func(w io.Writer) {
				fmt.Fprintf(w, "removed %d generations, %d files of %s\n", len(p.Generations), p.Files, byteSize(p.Bytes))
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.to, "from", "", "the place (default from the configuration: backup.to)")
	c.Flags().IntVar(&keep, "keep", 0, "how many of the newest whole generations stay, with the points since")
	_ = c.MarkFlagRequired("keep") // fails only for a flag that is not there
	return c
}
