package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/storage"

	"nocturne/internal/secret"
)

// Source is the store whose samples are sent on.
type Source interface {
	// LogDir is the folder of the write-ahead log, in prometheus/tsdb's format.
	LogDir() string
	// Raw reads samples as they were appended, those of the log included.
	Raw() storage.Queryable
	// Bounds are, in Unix milliseconds, a time that no sample held is older
	// than, and the time of the newest one, by which new ones are judged late;
	// ok is false while there are none.
	Bounds() (oldest, newest int64, ok bool)
	// Repairs names the last repair of the log. Where it is not what it was,
	// samples may be missing from the log that can still be read.
	Repairs() string
	// End is, in Unix milliseconds, a time that no sample held is newer than.
	End() int64
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
	Headers        map[string]secret.Text
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

// Fault is what is wrong with a field of a Receiver.
type Fault struct{ Field, Message string }

func (f Fault) Error() string { return f.Field + ": " + f.Message }

// ours are headers that a request sets itself.
var ours = []string{"Authorization", "Content-Encoding", "Content-Length", "Content-Type", "Host", "Retry-Attempt", "User-Agent", "X-Prometheus-Remote-Write-Version"}

var actions = []relabel.Action{
	relabel.Replace, relabel.Keep, relabel.Drop, relabel.KeepEqual, relabel.DropEqual, relabel.HashMod,
	relabel.LabelMap, relabel.LabelDrop, relabel.LabelKeep, relabel.Lowercase, relabel.Uppercase,
}

// Faults returns every fault of r.
func (r *Receiver) Faults() []Fault {
	var out []Fault
	fault := func(field, format string, args ...any) { out = append(out, Fault{field, fmt.Sprintf(format, args...)}) }
	if !goodName.MatchString(r.Name) {
		fault("name", "%q is not 1 to 64 letters, digits, '-' and '_'", r.Name)
	}
	// The address stays out of the fault: it may hold a password.
	switch u, err := url.Parse(r.URL); {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		fault("url", "is no http or https address")
	case u.User != nil:
		fault("url", "holds a user or password; they belong into a credential")
	}
	if p := cmp.Or(r.Protocol, Protocol1); p != Protocol1 && p != Protocol2 {
		fault("protocol", "%q is neither %q nor %q", p, Protocol1, Protocol2)
	}
	for _, name := range slices.Sorted(maps.Keys(r.ExternalLabels)) {
		if !model.UTF8Validation.IsValidLabelName(name) || !model.LabelValue(r.ExternalLabels[name]).IsValid() {
			fault("external_labels."+name, "is no label")
		}
	}
	for i, c := range r.Relabel {
		at := fmt.Sprintf("write_relabel[%d]", i)
		// The library panics at an action that it does not know, and without a
		// regular expression.
		if !slices.Contains(actions, c.Action) {
			fault(at+".action", "%q is none of %v", c.Action, actions)
		} else if err := c.Validate(model.UTF8Validation); err != nil {
			fault(at, "%v", err)
		}
		if c.Regex.Regexp == nil {
			fault(at+".regex", "is missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if slices.Contains(ours, http.CanonicalHeaderKey(name)) {
			fault("headers."+name, "is set by the request itself")
		}
	}
	for field, n := range map[string]int64{"timeout": int64(r.Timeout), "backfill": int64(r.Backfill), "shards": int64(r.Shards), "max_samples": int64(r.MaxSamples)} {
		if n < 0 {
			fault(field, "cannot be negative")
		}
	}
	slices.SortStableFunc(out, func(a, b Fault) int { return strings.Compare(a.Field, b.Field) })
	return out
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
		var errs []error
		for _, fault := range r.Faults() {
			errs = append(errs, fault)
		}
		if names[r.Name] {
			errs = append(errs, Fault{"name", "stands here twice"})
		}
		names[r.Name] = true
		if err := errors.Join(errs...); err != nil {
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
	f.prepare(ctx)
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

// prepare tries until it succeeds or ctx ends: what keeps samples from being
// sent on is no reason to stop taking them.
func (f *Forwarder) prepare(ctx context.Context) {
	for {
		err := os.MkdirAll(f.dir, 0o700)
		if err == nil {
			err = f.catalogue.load()
		}
		if err == nil {
			return
		}
		f.log.Error("nothing can be forwarded yet", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(tidyInterval):
		}
	}
}

// Status returns how each receiver fares, in the order of Options.Receivers.
func (f *Forwarder) Status() []Status {
	out := make([]Status, len(f.receivers))
	for i, r := range f.receivers {
		out[i] = r.status()
	}
	return out
}
