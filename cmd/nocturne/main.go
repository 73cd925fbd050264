// Command nocturne watches a data centre and its cloud, repairs what it may,
// and proves the repair. `nocturne help` lists the subcommands.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when the program is linked; see the Makefile.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "nocturne:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "nocturne", Short: "Watch a data centre and its cloud, repair what may be repaired, prove the repair",
		SilenceUsage: true, SilenceErrors: true, Version: version,
	}
	root.AddCommand(serveCommand(), demoCommand(), checkCommand(), tsdbCommand(), keyCommand(), everythingBackupCommand(), everythingRestoreCommand(), downgradeCommand(), versionCommand(), healthCommand(), supportCommand(), manCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "nocturne %s, %s, %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func checkCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "check", Short: "Check a configuration and every file that it names, without starting", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := LoadConfig(path)
			if err != nil {
				return err
			}
			t, err := readTexts(cfg)
			if err != nil {
				return err
			}
			t.settle()
			t.faults = append(t.faults, cfg.unfit(path)...)
			for _, f := range t.faults {
				fmt.Fprintln(c.ErrOrStderr(), f)
			}
			if n := len(t.faults); n > 0 {
				return fmt.Errorf("%d fault(s)", n)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "good: %d targets, %d rule files, %d runbooks, %d remedies, %d inspections\n",
				len(cfg.targets()), len(t.rules), len(t.runbooks), len(t.remedies), len(t.inspections))
			return err
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	return c
}

// logLevel is of the program's one log: a reload may change it.
var logLevel slog.LevelVar

func (c LogConfig) level() (level slog.Level) {
	// It was validated with the configuration.
	_ = level.UnmarshalText([]byte(c.Level))
	return level
}

func logger(c LogConfig) *slog.Logger {
	logLevel.Set(c.level())
	o := &slog.HandlerOptions{Level: &logLevel}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
