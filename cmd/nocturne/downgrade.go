package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"nocturne/internal/upgrade"
)

func downgradeCommand() *cobra.Command {
	f := &tsdbFlags{}
	yes := false
	c := &cobra.Command{
		Use: "downgrade --data FOLDER [--yes]", Short: "Put state back as it was before the last upgrade, for the earlier version", Args: cobra.NoArgs,
		Long: "The first start of a new version keeps state in the data folder before it upgrades it. This puts that back, for the earlier version to\n" +
			"be started on; what was recorded since the upgrade is moved aside, not deleted. History stays as it is. Without --yes it only says\n" +
			"what it would do. The server has to be stopped.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if err := ownedState(cfg.Data); err != nil {
				return err
			}
			lock, err := lockAny(cfg.Data, "nocturne downgrade")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, lock.Close()) }()
			if !yes {
				plan, err := upgrade.PlanUndo(cfg.Data)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "with --yes: %s\n", plan)
				return err
			}
			done, err := upgrade.Undo(c.Context(), cfg.Data)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "done: %s\n", done)
			return err
		},
	}
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration file")
	c.Flags().StringVar(&f.data, "data", "", "folder that holds everything stored (default from the configuration: ./data)")
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}
