package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	library "github.com/prometheus/prometheus/tsdb"
	"github.com/spf13/cobra"

	"nocturne/tsdb"
	"nocturne/tsdb/archive"
	"nocturne/tsdb/openmetrics"
)

// ahead is how far in the future samples are taken that are imported.
const ahead = 10 * time.Minute

func dumpCommand(f *tsdbFlags) *cobra.Command {
	var from, to, match, path string
	c := &cobra.Command{
		Use: "dump", Short: "Write samples as OpenMetrics text", Args: cobra.NoArgs,
		Long: "Values are exact. Staleness markers are written as NaN with the exemplar {stale=\"true\"}, which import reads back.\n" +
			"Native histograms have no text form; they are left out and counted.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			o, err := f.existing()
			if err != nil {
				return err
			}
			lo, hi, err := span(from, to)
			if err != nil {
				return err
			}
			var matchers []*labels.Matcher
			if match != "" {
				if matchers, err = parser.NewParser(parser.Options{}).ParseMetricSelector(match); err != nil {
					return fmt.Errorf("--match %q: %w", match, err)
				}
			}
			out, done, err := outFile(path, c.OutOrStdout())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done(err == nil)) }()
			var d openmetrics.Dumped
			err = withPicture(o, func(db *library.DB) error {
				q, err := db.Querier(lo, hi)
				if err != nil {
					return err
				}
				defer q.Close()
				show, end := progress(c.ErrOrStderr(), "dump", false)
				defer end()
				d, err = openmetrics.Dump(c.Context(), out, q, matchers, show)
				return err
			})
			if err != nil {
				return err
			}
			return f.print(c.ErrOrStderr(), d, func(w io.Writer) {
				fmt.Fprintf(w, "dumped %d samples of %d series; %d histograms left out\n", d.Samples, d.Series, d.Histograms)
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", "only samples at or after this time")
	c.Flags().StringVar(&to, "to", "", "only samples at or before this time")
	c.Flags().StringVar(&match, "match", "", `only series of this selector, as {job="node"}`)
	c.Flags().StringVarP(&path, "output", "o", "", "file that is written, whole or not at all (default: standard output)")
	return c
}

// outFile opens what is written. Its second result ends it: a good file gets
// its name, one that is not is removed.
func outFile(path string, stdout io.Writer) (io.Writer, func(good bool) error, error) {
	if path == "" {
		return stdout, func(bool) error { return nil }, nil
	}
	tmp := path + ".tmp"
	file, err := os.Create(tmp)
	if err != nil {
		return nil, nil, err
	}
	return file, func(good bool) error {
		err := errors.Join(file.Sync(), file.Close())
		if !good || err != nil {
			return errors.Join(err, os.Remove(tmp))
		}
		return os.Rename(tmp, path)
	}, nil
}

// imported is what import prints.
type imported struct {
	Text   *openmetrics.Imported `json:"text,omitempty"`
	Blocks *archive.Admitted     `json:"blocks,omitempty"`
}

func importCommand(f *tsdbFlags) *cobra.Command {
	return &cobra.Command{
		Use: "import FILE|FOLDER...", Short: "Take in OpenMetrics text, or the blocks of a Prometheus", Args: cobra.MinimumNArgs(1),
		Long: "A file, or - for standard input, is OpenMetrics text with timestamps: all of the files are taken, or none.\n" +
			"A folder is a block of a Prometheus, or its data folder: each block is verified, damaged ones are refused and the rest is taken.\n" +
			"The samples appear at the end, as blocks; a running server sees them within a minute. Where they overlap what is there, they are\n" +
			"merged; a sample that is there already stays once. What is older than the retention goes again when the server next looks.",
		RunE: func(c *cobra.Command, args []string) error {
			o, err := f.history()
			if err != nil {
				return err
			}
			var files, folders []string
			for _, a := range args {
				if st, err := os.Stat(a); a != "-" && err != nil {
					return err
				} else if a != "-" && st.IsDir() {
					folders = append(folders, a)
				} else {
					files = append(files, a)
				}
			}
			var r imported
			if len(files) > 0 {
				if r.Text, err = importText(c, o, files); err != nil {
					return err
				}
			}
			if len(folders) > 0 {
				show, end := progress(c.ErrOrStderr(), "import blocks", false)
				a, err := archive.AdmitBlocks(c.Context(), archive.AdmitOptions{From: folders, Into: o.Dir, Block: o.BlockDuration(), Latest: time.Now().Add(ahead), Progress: show})
				end()
				if err != nil {
					return err
				}
				r.Blocks = &a
			}
			if err := f.print(c.OutOrStdout(), r, func(w io.Writer) { printImported(w, r, o.Retention) }); err != nil {
				return err
			}
			if r.Blocks != nil && len(r.Blocks.Refused) > 0 {
				return fmt.Errorf("%d block(s) refused", len(r.Blocks.Refused))
			}
			return nil
		},
	}
}

func importText(c *cobra.Command, o tsdb.Options, files []string) (_ *openmetrics.Imported, err error) {
	var inputs []openmetrics.Input
	size := int64(0)
	for _, name := range files {
		if name == "-" {
			inputs = append(inputs, openmetrics.Input{Name: "standard input", Text: c.InOrStdin()})
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if st, err := file.Stat(); err == nil {
			size += st.Size()
		}
		inputs = append(inputs, openmetrics.Input{Name: name, Text: bufio.NewReader(file)})
	}
	stage, err := archive.NewStage(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	show, end := progress(c.ErrOrStderr(), "import", true)
	r, err := openmetrics.Import(c.Context(), inputs, openmetrics.Options{
		Into: stage.Dir(), Block: o.BlockDuration(), Latest: time.Now().Add(ahead), Progress: show, Size: max(size, 1),
	})
	end()
	if err != nil {
		return nil, fmt.Errorf("nothing was imported: %w", err)
	}
	_, err = stage.Admit()
	return &r, err
}

func printImported(w io.Writer, r imported, retention time.Duration) {
	if t := r.Text; t != nil {
		fmt.Fprintf(w, "imported %d samples of %d series in %d blocks, from %s to %s\n", t.Samples, t.Series, t.Blocks,
			t.Oldest.Format(time.RFC3339), t.Newest.Format(time.RFC3339))
		if days := time.Since(t.Oldest); t.Samples > 0 && days > retention {
			fmt.Fprintf(w, "note: samples older than history.retention (%d days) will be deleted again\n", int(math.Round(retention.Hours()/24)))
		}
	}
	if b := r.Blocks; b != nil {
		fmt.Fprintf(w, "imported %d blocks with %d samples, %d of them cut anew; %d were there already\n", b.Blocks, b.Samples, b.Cut, b.Present)
		for _, s := range b.Refused {
			fmt.Fprintln(w, "refused:", s)
		}
	}
}
