package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"nocturne/tsdb"
)

func rollupCommand(f *tsdbFlags) *cobra.Command {
	var from, to string
	c := &cobra.Command{
		Use: "rollup", Short: "Roll raw samples up into the tiers of 5 min and 1 h, again where that was done",
		Args: cobra.NoArgs,
		Long: "A running server does this by itself. It is for samples that were imported, and for the edges of what was deleted.\n" +
			"The server must be stopped. Samples that may still be joined by late ones are left to it.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			o, err := f.existing()
			if err != nil {
				return err
			}
			lo, hi, err := span(from, to)
			if err != nil {
				return err
			}
			lock, err := lockData(filepath.Dir(o.Dir), "nocturne tsdb rollup")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, lock.Close()) }()
			o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
			db, err := tsdb.Open(o)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			show, end := progress(c.ErrOrStderr(), "rolling up", false)
			err = db.Rollup(c.Context(), time.UnixMilli(max(lo, 0)), time.UnixMilli(min(hi, time.Now().UnixMilli())), func(p tsdb.RollupProgress) {
				show(int64(p.Done/time.Minute), int64(p.All/time.Minute))
			})
			end()
			return errors.Join(err, f.print(c.OutOrStdout(), db.Stats().Tiers, func(w io.Writer) {
				fmt.Fprintln(w, "TIER\tFROM\tTO\tBLOCKS\tSIZE")
				for _, t := range db.Stats().Tiers {
					from, to := "-", "-"
					if n := len(t.Covered); n > 0 {
						from, to = clock(t.Covered[0].From), clock(t.Covered[n-1].To)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", t.Name, from, to, t.Blocks, byteSize(t.Bytes))
				}
			}))
		},
	}
	c.Flags().StringVar(&from, "from", "", "only samples at or after this time")
	c.Flags().StringVar(&to, "to", "", "only samples at or before this time")
	return c
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
