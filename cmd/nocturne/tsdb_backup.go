package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"nocturne/tsdb/archive"
)

func backupCommand(f *tsdbFlags) *cobra.Command {
	o := archive.Options{}
	c := &cobra.Command{
		Use: "backup --to FOLDER", Short: "Back up the history while the server runs, copying each block once", Args: cobra.NoArgs,
		Long: "Every sample that was on disk when the backup began is in it, the head's too. Generations share the blocks that they have in\n" +
			"common. A backup that was cut short counts as none; the next one uses what it copied.",
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := f.existing()
			if err != nil {
				return err
			}
			show, end := progress(c.ErrOrStderr(), "backup", true)
			o.History, o.Progress = h.Dir, show
			r, err := archive.Backup(c.Context(), o)
			end()
			if err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), r, func(w io.Writer) {
				fmt.Fprintf(w, "generation %s: %d blocks, %d files, %s\ncopied %s in %d files; %d blocks are new\n",
					r.Name, r.Blocks, r.Files, byteSize(r.Bytes), byteSize(r.CopiedBytes), r.Copied, r.NewBlocks)
			})
		},
	}
	c.Flags().StringVar(&o.To, "to", "", "the backup's folder")
	c.Flags().BoolVar(&o.Recheck, "recheck", false, "read all that the backup holds already and copy anew what is damaged")
	_ = c.MarkFlagRequired("to") // fails only for a flag that is not there
	c.AddCommand(backupListCommand(f), backupPruneCommand(f))
	return c
}

func backupListCommand(f *tsdbFlags) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "list --from FOLDER", Short: "List the generations of a backup", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := archive.List(from)
			if err != nil {
				return err
			}
			faults := 0
			err = f.print(c.OutOrStdout(), all, func(w io.Writer) {
				fmt.Fprint(w, "GENERATION\tBLOCKS\tFILES\tBYTES\tFAULT\n")
				for _, g := range all {
					fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", g.Name, g.Blocks, g.Files, byteSize(g.Bytes), g.Fault)
				}
			})
			for _, g := range all {
				if g.Fault != "" {
					faults++
				}
			}
			if err == nil && faults > 0 {
				err = fmt.Errorf("%d generation(s) cannot be restored", faults)
			}
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "", "the backup's folder")
	_ = c.MarkFlagRequired("from")
	return c
}

func backupPruneCommand(f *tsdbFlags) *cobra.Command {
	var from string
	var keep int
	c := &cobra.Command{
		Use: "prune --from FOLDER --keep N", Short: "Remove old generations, and the blocks that only they named", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := archive.Prune(from, keep)
			if err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), p, func(w io.Writer) {
				fmt.Fprintf(w, "removed %d generations and %d shared files of %s\n", len(p.Generations), p.Files, byteSize(p.Bytes))
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", "the backup's folder")
	c.Flags().IntVar(&keep, "keep", 0, "how many of the newest whole generations stay")
	_ = c.MarkFlagRequired("from")
	_ = c.MarkFlagRequired("keep")
	return c
}

func restoreCommand(f *tsdbFlags) *cobra.Command {
	var o archive.RestoreOptions
	var at string
	c := &cobra.Command{
		Use: "restore --from FOLDER", Short: "Write a backup into an empty history", Args: cobra.NoArgs,
		Long: "Every file is verified first; a damaged one is named and nothing is restored. The server must not run yet: its history folder\n" +
			"has to be empty or absent, and appears whole.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			h, err := f.history()
			if err != nil {
				return err
			}
			lock, err := lockData(filepath.Dir(h.Dir), "nocturne tsdb restore")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, lock.Close()) }()
			o.Into = h.Dir
			if at != "" {
				if o.At, err = timeFlag("at", at); err != nil {
					return err
				}
			}
			show, end := progress(c.ErrOrStderr(), "restore", true)
			o.Progress = show
			g, err := archive.Restore(c.Context(), o)
			end()
			if err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), g, func(w io.Writer) {
				fmt.Fprintf(w, "restored generation %s of %s into %s: %d blocks, %s\n", g.Name, g.Time.Format(time.RFC3339), o.Into, g.Blocks, byteSize(g.Bytes))
			})
		},
	}
	c.Flags().StringVar(&o.From, "from", "", "the backup's folder")
	c.Flags().StringVar(&at, "at", "", "the newest generation not after this time (default: the newest)")
	_ = c.MarkFlagRequired("from")
	return c
}
