package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	library "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/spf13/cobra"

	"nocturne/tsdb"
	"nocturne/tsdb/analysis"
	"nocturne/tsdb/archive"
)

func analyzeCommand(f *tsdbFlags) *cobra.Command {
	var from, to string
	var top int
	c := &cobra.Command{
		Use: "analyze", Short: "Say what costs the series: by metric, label, source and churn", Args: cobra.NoArgs,
		Long: "Blocks that overlap the time asked for are counted whole. Samples that are in several blocks count once for each.",
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.existing()
			if err != nil {
				return err
			}
			lo, hi, err := span(from, to)
			if err != nil {
				return err
			}
			var r analysis.Report
			err = withPicture(o, func(db *library.DB) error {
				if err := archive.WriteHead(c.Context(), db, o.BlockDuration()); err != nil {
					return err
				}
				var blocks []library.BlockReader
				for _, b := range db.Blocks() {
					if b.OverlapsClosedInterval(lo, hi) {
						blocks = append(blocks, b)
					}
				}
				show, end := progress(c.ErrOrStderr(), "analyze", false)
				defer end()
				r, err = analysis.Analyze(c.Context(), blocks, top, show)
				return err
			})
			if err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), r, func(w io.Writer) { printAnalysis(w, r) })
		},
	}
	c.Flags().StringVar(&from, "from", "", "only blocks with samples at or after this time")
	c.Flags().StringVar(&to, "to", "", "only blocks with samples at or before this time")
	c.Flags().IntVar(&top, "top", 20, "length of each list")
	return c
}

func printAnalysis(w io.Writer, r analysis.Report) {
	fmt.Fprintf(w, "%d series, %d samples in %s, in %d blocks from %s to %s\n", r.Series, r.Samples, byteSize(r.Bytes), r.Blocks,
		r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	costs := func(title string, list []analysis.Cost) {
		fmt.Fprintf(w, "\n%s\tSERIES\tSAMPLES\tBYTES\n", title)
		for _, c := range list {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", c.Name, c.Series, c.Samples, byteSize(c.Bytes))
		}
	}
	costs("METRIC", r.Metrics)
	costs("SOURCE", r.Sources)
	costs("LABEL PAIR", r.Pairs)
	fmt.Fprint(w, "\nLABEL\tVALUES\tSERIES\tBYTES\n")
	for _, l := range r.Labels {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", l.Name, l.Values, l.Series, byteSize(l.Bytes))
	}
	fmt.Fprint(w, "\nCHURN FROM\tTO\tSERIES\tAPPEARED\tGONE\n")
	for _, c := range r.Churn {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", c.From.Format(time.RFC3339), c.To.Format(time.RFC3339), c.Series, c.Appeared, c.Gone)
	}
	fmt.Fprint(w, "\nCHURN BY METRIC\tSERIES\tAPPEARED\n")
	for _, c := range r.Restless {
		fmt.Fprintf(w, "%s\t%d\t%d\n", c.Name, c.Series, c.Appeared)
	}
}

// verified is what verify prints.
type verified struct {
	Running  bool         `json:"server_running"`
	Blocks   int          `json:"blocks"`
	Segments int          `json:"segments"`
	Samples  int64        `json:"samples"`
	Faults   []fileDamage `json:"faults"`
}

type fileDamage struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"` // -1: the whole file
	What   string `json:"what"`
	Advice string `json:"advice"`
}

func verifyCommand(f *tsdbFlags) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Read every block, log and checksum of the history", Args: cobra.NoArgs,
		Long: "While the server runs, a picture of its folder is verified: all but the chunks that it has mapped from its head,\n" +
			"which it writes at that time and can make anew from the log.",
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.existing()
			if err != nil {
				return err
			}
			show, end := progress(c.ErrOrStderr(), "verify", true)
			v, err := verifyHistory(o.Dir, show)
			end()
			if err != nil {
				return err
			}
			if err := f.print(c.OutOrStdout(), v, func(w io.Writer) { printVerified(w, v) }); err != nil {
				return err
			}
			if n := len(v.Faults); n > 0 {
				return fmt.Errorf("%d fault(s) in %s", n, o.Dir)
			}
			return nil
		},
	}
}

func verifyHistory(dir string, show func(done, total int64)) (_ verified, err error) {
	lock, _, held := fileutil.Flock(filepath.Join(dir, "lock"))
	running := held != nil
	if running {
		still, errHold := archive.Hold(dir)
		if errHold != nil {
			return verified{}, errHold
		}
		defer func() { err = errors.Join(err, still.Close()) }()
		dir = still.Dir()
	} else if err := lock.Release(); err != nil {
		return verified{}, err
	}
	r, err := tsdb.Verify(dir, show)
	v := verified{Running: running, Blocks: r.Blocks, Segments: r.Segments, Samples: r.Samples, Faults: []fileDamage{}}
	for _, d := range r.Faults {
		v.Faults = append(v.Faults, fileDamage{File: d.File, Offset: d.Offset, What: d.What, Advice: d.Advice})
	}
	return v, err
}

func printVerified(w io.Writer, v verified) {
	fmt.Fprintf(w, "read %d samples in %d blocks and %d log segments: %d faults\n", v.Samples, v.Blocks, v.Segments, len(v.Faults))
	if v.Running {
		fmt.Fprintln(w, "the server is running: a picture of its folder was read")
	}
	for _, d := range v.Faults {
		at := ""
		if d.Offset >= 0 {
			at = fmt.Sprintf(" at byte %d", d.Offset)
		}
		fmt.Fprintf(w, "%s%s: %s\n  %s\n", d.File, at, d.What, d.Advice)
	}
}
