package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/storage"
)

// Source is the store whose samples are sent on.
type Source interface {
	// LogDir is the folder of the write-ahead log, in prometheus/tsdb's format.
	LogDir() string
	// Raw reads samples as they were appended, those of the log included.
	Raw() storage.Queryable
	// Bounds are the oldest and the newest sample held, in Unix milliseconds;
	// ok is false while there are none.
	Bounds() (oldest, newest int64, ok bool)
	// Lateness is how much older than the newest sample one may be that the
	// store still takes.
	Lateness() time.Duration
}

// Receiver is one place that samples are sent to. The zero value of a field
// other than Name and URL means its default.
type Receiver struct {
	Name     string // of its position's files, too: letters, digits, '-' and '_'
	URL      string
	Protocol string // Protocol1 (default) or Protocol2
	// ExternalLabels are added to series that have no such label, before
	// Relabel is applied. A series that Relabel drops is not sent.
	ExternalLabels map[string]string
	Relabel        []*relabel.Config
	Headers        map[string]string
	// Credential is asked before each request.
	Credential         func() (Credential, error)
	CAFile, ServerName string // for TLS
	InsecureSkipVerify bool
	Timeout            time.Duration // of one request (30 s)
	Shards             int           // requests at once (4)
	MaxSamples         int           // in one request (5000)
	Backfill           time.Duration // how much of the past a new receiver gets (none)
}

var goodName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate joins every fault of r.
func (r *Receiver) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !goodName.MatchString(r.Name) {
		fault("name: %q is not 1 to 64 letters, digits, '-' and '_'", r.Name)
	}
	// The address stays out of the fault: it may hold a password.
	switch u, err := url.Parse(r.URL); {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		fault("url: is no http or https address")
	case u.User != nil:
		fault("url: holds a user or password; they belong into a credential")
	}
	if p := cmp.Or(r.Protocol, Protocol1); p != Protocol1 && p != Protocol2 {
		fault("protocol: %q is neither %q nor %q", p, Protocol1, Protocol2)
	}
	for name, value := range r.ExternalLabels {
		if !model.UTF8Validation.IsValidLabelName(name) || !model.LabelValue(value).IsValid() {
			fault("external_labels.%s: is no label", name)
		}
	}
	for i, c := range r.Relabel {
		if err := c.Validate(model.UTF8Validation); err != nil {
			fault("write_relabel[%d]: %w", i, err)
		}
	}
	if r.Timeout < 0 || r.Shards < 0 || r.MaxSamples < 0 || r.Backfill < 0 {
		fault("timeout, shards, max_samples and backfill cannot be negative")
	}
	return errors.Join(errs...)
}

// Options say what is sent where. Log defaults to slog.Default().
type Options struct {
	Source    Source
	Dir       string // of the positions; made when absent
	Receivers []Receiver
	Log       *slog.Logger
}

// Forwarder sends samples on.
type Forwarder struct {
	source    Source
	dir       string
	log       *slog.Logger
	catalogue *catalogue
	receivers []*receiver
}

// New validates the options.
func New(o Options) (*Forwarder, error) {
	log := cmp.Or(o.Log, slog.Default()).With("component", "forward")
	f := &Forwarder{source: o.Source, dir: o.Dir, log: log, catalogue: newCatalogue(o.Source.LogDir(), log)}
	names := map[string]bool{}
	for _, r := range o.Receivers {
		err := r.Validate()
		if names[r.Name] {
			err = errors.Join(err, errors.New("name: stands here twice"))
		}
		names[r.Name] = true
		if err != nil {
			return nil, fmt.Errorf("receiver %s: %w", r.Name, err)
		}
		made, err := newReceiver(f, r.withDefaults())
		if err != nil {
			return nil, fmt.Errorf("receiver %s: %w", r.Name, err)
		}
		f.receivers = append(f.receivers, made)
	}
	return f, nil
}

const (
	// flushTime is how long receivers that answer get at the end to take what
	// the log still holds.
	flushTime = 3 * time.Second
	// tidyInterval is between two looks for a new checkpoint.
	tidyInterval = 10 * time.Second
)

// Run sends until ctx ends. Then receivers that answer get what the log still
// holds, for at most three seconds.
func (f *Forwarder) Run(ctx context.Context) error {
	if len(f.receivers) == 0 {
		<-ctx.Done()
		return nil
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of positions: %w", err)
	}
	if err := f.catalogue.load(); err != nil {
		return err
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushTime, cancel) })()
	var wg sync.WaitGroup
	for _, r := range f.receivers {
		wg.Go(func() { r.run(work, ctx.Done()) })
	}
	tick := time.NewTicker(tidyInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			for _, r := range f.receivers {
				r.measure()
			}
			if err := f.catalogue.trim(); err != nil {
				f.log.Warn("series that left the log are kept", "err", err)
			}
		}
	}
	wg.Wait()
	return nil
}

// Status returns how each receiver fares, in the order of Options.Receivers.
func (f *Forwarder) Status() []Status {
	out := make([]Status, len(f.receivers))
	for i, r := range f.receivers {
		out[i] = r.status()
	}
	return out
}
