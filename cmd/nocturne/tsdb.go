package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/model"
	library "github.com/prometheus/prometheus/tsdb"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"nocturne/tsdb"
	"nocturne/tsdb/archive"
)

// tsdbFlags are those that all commands over the history share.
type tsdbFlags struct {
	config, data string
	json         bool
}

func tsdbCommand() *cobra.Command {
	f := &tsdbFlags{}
	c := &cobra.Command{
		Use: "tsdb", Short: "Look into, move and back up the history",
		Long: "All of these work while the server runs, on a picture of its folder made of hard links, and change nothing in it;\n" +
			"import adds blocks that the server sees within a minute, restore wants an empty folder, and rollup a server that is stopped.\n" +
			"They end with 0 when all is good and with 1 when a fault was found.",
	}
	c.PersistentFlags().StringVarP(&f.config, "config", "c", "", "configuration file")
	c.PersistentFlags().StringVar(&f.data, "data", "", "folder that holds everything stored (default from the configuration: ./data)")
	c.PersistentFlags().BoolVar(&f.json, "json", false, "print JSON instead of tables")
	c.AddCommand(analyzeCommand(f), verifyCommand(f), dumpCommand(f), importCommand(f), rollupCommand(f), backupCommand(f), restoreCommand(f))
	return c
}

// history returns the history's folder and its options.
func (f *tsdbFlags) history() (tsdb.Options, error) {
	cfg, err := LoadConfig(f.config)
	if err != nil {
		return tsdb.Options{}, err
	}
	if f.data != "" {
		cfg.Data = f.data
	}
	return cfg.history(), nil
}

// existing is history, of a folder that must be there.
func (f *tsdbFlags) existing() (tsdb.Options, error) {
	o, err := f.history()
	if err != nil {
		return o, err
	}
	if _, err := os.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return o, fmt.Errorf("there is no history in %s: name the server's --data or --config", o.Dir)
	}
	return o, nil
}

// withPicture opens a picture of the history as a store for the time of do.
func withPicture(o tsdb.Options, do func(*library.DB) error) (err error) {
	still, err := archive.Hold(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, still.Close()) }()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	db, err := still.Open(o.BlockDuration(), log)
	if err != nil {
		return fmt.Errorf("%w\n`nocturne tsdb verify` says what is damaged and what to do", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(db)
}

// print writes v as JSON, or lets table write lines of tab-separated cells.
func (f *tsdbFlags) print(out io.Writer, v any, table func(io.Writer)) error {
	if f.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// progress shows how far something has come: a bar on a terminal, else a line
// every ten seconds. The second function ends it.
func progress(errs io.Writer, what string, bytes bool) (func(done, total int64), func()) {
	if file, ok := errs.(*os.File); ok {
		if st, err := file.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
			bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(errs), progressbar.OptionSetDescription(what),
				progressbar.OptionShowBytes(bytes), progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish())
			show := func(done, total int64) {
				if bar.GetMax64() != total {
					bar.ChangeMax64(total)
				}
				_ = bar.Set64(min(done, total)) // a bar that cannot be drawn stops nothing
			}
			return show, func() { _ = bar.Clear() }
		}
	}
	last := time.Now()
	return func(done, total int64) {
		if total > 0 && time.Since(last) > 10*time.Second {
			last = time.Now()
			fmt.Fprintf(errs, "%s: %d %%\n", what, done*100/total)
		}
	}, func() {}
}

// timeFlag reads a time: RFC 3339, a date, Unix seconds, or how long ago.
func timeFlag(name, text string) (time.Time, error) {
	if d, err := model.ParseDuration(text); err == nil {
		return time.Now().Add(-time.Duration(d)), nil
	}
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		return time.UnixMilli(int64(s * 1000)), nil
	}
	for _, form := range []string{time.RFC3339Nano, "20060102T150405.000Z", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--%s: %q is no time; give 2026-11-23T06:00:00Z, 2026-11-23, Unix seconds, or how long ago, as 36h or 30d", name, text)
}

// span reads --from and --to; what is not given is open.
func span(from, to string) (lo, hi int64, err error) {
	lo, hi = -1<<62, 1<<62
	if from != "" {
		t, err := timeFlag("from", from)
		if err != nil {
			return 0, 0, err
		}
		lo = t.UnixMilli()
	}
	if to != "" {
		t, err := timeFlag("to", to)
		if err != nil {
			return 0, 0, err
		}
		hi = t.UnixMilli()
	}
	if lo > hi {
		return 0, 0, fmt.Errorf("--from %s lies after --to %s", from, to)
	}
	return lo, hi, nil
}

// byteSize writes a number of bytes for people.
func byteSize(n int64) string {
	f, unit := float64(n), 0
	for f >= 1024 && unit < 4 {
		f /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, []string{"", "KiB", "MiB", "GiB", "TiB"}[unit])
}
