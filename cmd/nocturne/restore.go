package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"nocturne/internal/backup"
	"nocturne/tsdb"
)

func everythingRestoreCommand() *cobra.Command {
	f := &backupFlags{}
	at := ""
	c := &cobra.Command{
		Use: "restore --from PLACE [--at TIME] --data FOLDER", Short: "Write a backup of everything into an empty data folder", Args: cobra.NoArgs,
		Long: "Every file is verified; a damaged one is named and nothing is restored. The data folder has to be empty or absent, and appears\n" +
			"whole. --at takes the newest generation that is not after it: state as of then, on the history of the whole generation before.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			var o backup.RestoreOptions
			if at != "" {
				if o.At, err = timeFlag("at", at); err != nil {
					return err
				}
			}
			cfg, store, err := f.reading(c.Context(), false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			o.Into = cfg.Data
			show, end := progress(c.ErrOrStderr(), "restore", true)
			o.Progress = show
			r, err := backup.Restore(c.Context(), store, o)
			end()
			if err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), r, func(w io.Writer) {
				fmt.Fprintf(w, "restored %s into %s: %d files of %s in %s\n", r.Name, o.Into, r.Files, byteSize(r.Bytes), r.Took)
				fmt.Fprintf(w, "state as of %s with the ledger up to entry %d, verified; history as of %s\n", r.Time.Format(time.RFC3339), r.Ledger.Seq, r.History.Format(time.RFC3339))
				if !r.WithKey {
					fmt.Fprintf(w, "the master key is not in this backup: put it at %s before the start\n", cfg.masterKey())
				}
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.to, "from", "", "the place (default from the configuration: backup.to)")
	c.Flags().StringVar(&at, "at", "", "the newest generation not after this time (default: the newest)")
	return c
}

func drillCommand() *cobra.Command {
	f := &backupFlags{}
	at, in := "", ""
	c := &cobra.Command{
		Use: "drill --from PLACE [--at TIME]", Short: "Try a restore: into a temporary folder, opened, read and compared", Args: cobra.NoArgs,
		Long: "Every record, series and sample is read and held against what the generation says was there. Ends with 1 when something differs.\n" +
			"It needs room for all the data in the temporary folder, which is removed.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			o := backup.DrillOptions{In: in}
			if at != "" {
				if o.At, err = timeFlag("at", at); err != nil {
					return err
				}
			}
			cfg, store, err := f.reading(c.Context(), false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			show, end := progress(c.ErrOrStderr(), "restore", true)
			o.Progress, o.History = show, cfg.tryHistory
			d, err := backup.Drill(c.Context(), store, o)
			end()
			if err != nil {
				return err
			}
			if err := f.print(c.OutOrStdout(), d, func(w io.Writer) { drilled(w, d) }); err != nil {
				return err
			}
			if n := len(d.Differences); n > 0 {
				return fmt.Errorf("%d difference(s) between what was restored and what was backed up", n)
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.to, "from", "", "the place (default from the configuration: backup.to)")
	c.Flags().StringVar(&at, "at", "", "the newest generation not after this time (default: the newest)")
	c.Flags().StringVar(&in, "in", "", "folder in which the temporary one is made (default: the system's)")
	return c
}

func drilled(w io.Writer, d backup.Drilled) {
	fmt.Fprintf(w, "generation %s, state as of %s, history as of %s\n", d.Name, d.Time.Format(time.RFC3339), d.History.Format(time.RFC3339))
	fmt.Fprintf(w, "restored %s in %d files in %s, %s/s; opened and read in %s\n", byteSize(d.Bytes), d.Files,
		d.Restore.Round(time.Millisecond), byteSize(int64(d.Rate)), d.Read.Round(time.Millisecond))
	fmt.Fprintf(w, "%d records, ledger of %d entries verified; %d series and %d samples in blocks\n", d.Records, d.Ledger.Seq, d.Series, d.Samples)
	for _, x := range d.Differences {
		fmt.Fprintln(w, "differs:", x)
	}
	if len(d.Differences) == 0 {
		fmt.Fprintln(w, "no differences")
	}
}

// tryHistory opens a restored history as the server would, its logs replayed.
func (c *Config) tryHistory(_ context.Context, dir string) (faults []string, err error) {
	o := c.history()
	o.Dir, o.Log = dir, slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(o)
	if err != nil {
		return nil, err
	}
	st := db.Stats()
	for _, aside := range st.SetAside {
		faults = append(faults, "set aside at opening: "+aside)
	}
	for _, lost := range st.Lost {
		faults = append(faults, fmt.Sprintf("not replayed: %+v", lost))
	}
	return faults, db.Close()
}
