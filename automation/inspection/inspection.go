package inspection

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

// maxDuration bounds the time of one inspection.
const maxDuration = 5 * time.Minute

// lookAgain is how long the clock may be wrong unseen: a schedule is of its
// time, which may be set.
const lookAgain = time.Minute

// defaultLookback is four of the product's usual polling intervals.
const defaultLookback = time.Minute

// ErrUnknown is returned for an inspection or a report that is not there.
var ErrUnknown = errors.New("no such inspection or report")

// Options of an Inspector. DB, Ledger and State are needed.
type Options struct {
	DB          *tsdb.DB
	Ledger      *ledger.Chain
	State       *state.DB
	Inspections []Inspection // from Parse
	// Lookback is how old a sample may be that an instant selector of a check
	// still takes: three polling intervals. What is older is not seen. 0 means
	// 1 min.
	Lookback time.Duration
	Log      *slog.Logger
}

// Inspector makes inspections and keeps their reports. It is safe for
// concurrent use.
type Inspector struct {
	o         Options
	log       *slog.Logger
	reports   *state.Table[Report]
	schedules *state.Table[lastDue]
	order     *state.Log[string] // report IDs in the order they were written

	limit  time.Duration // of one inspection
	making sync.Mutex    // one inspection at a time

	mu          sync.RWMutex // guards below
	inspections []Inspection
	replaced    chan struct{} // closed when they are
}

// lastDue is the last time of an inspection's schedule that was seen to.
type lastDue struct {
	At time.Time `json:"at"`
}

// New validates the options and starts nothing.
func New(o Options) (*Inspector, error) {
	if o.DB == nil || o.Ledger == nil || o.State == nil {
		return nil, errors.New("inspection: DB, Ledger and State are needed")
	}
	if o.Lookback < 0 {
		return nil, fmt.Errorf("inspection: lookback of %v is negative", o.Lookback)
	}
	o.Lookback = cmp.Or(o.Lookback, defaultLookback)
	order, err := state.NewLog[string](o.State, "reports", 1)
	if err != nil {
		return nil, fmt.Errorf("inspection: %w", err)
	}
	i := &Inspector{
		o: o, log: cmp.Or(o.Log, slog.Default()).With("component", "inspection"), order: order, limit: maxDuration,
		reports:   state.NewTable[Report](o.State, "report", 1),
		schedules: state.NewTable[lastDue](o.State, "inspection-due", 1),
		replaced:  make(chan struct{}),
	}
	return i, i.Replace(o.Inspections)
}

// Replace takes other inspections in the place of those that are there. One
// that is being made is made to its end.
func (i *Inspector) Replace(inspections []Inspection) error {
	seen := map[string]bool{}
	for _, in := range inspections {
		if in.schedule == nil {
			return fmt.Errorf("inspection %s: was not read by Parse", in.Name)
		}
		if seen[in.Name] {
			return fmt.Errorf("inspection %s stands here twice", in.Name)
		}
		seen[in.Name] = true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.inspections = inspections
	close(i.replaced)
	i.replaced = make(chan struct{})
	return nil
}

// standing are the inspections, and what is closed when they are replaced.
func (i *Inspector) standing() ([]Inspection, <-chan struct{}) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.inspections, i.replaced
}

// Run makes each inspection when it is due, until ctx ends. One whose time
// passed while nothing ran is made once at the start, and says so.
func (i *Inspector) Run(ctx context.Context) error {
	late := true
	for {
		next := time.Time{}
		inspections, replaced := i.standing()
		for _, in := range inspections {
			due, err := i.see(ctx, in, late)
			if err != nil && ctx.Err() == nil {
				i.log.Error("inspection is not made", "inspection", in.Name, "err", err)
				due = time.Now().Add(time.Minute)
			}
			if next.IsZero() || due.Before(next) {
				next = due
			}
		}
		late = false
		var alarm <-chan time.Time
		if !next.IsZero() {
			alarm = time.After(min(time.Until(next), lookAgain))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-replaced:
		case <-alarm:
		}
	}
}

// see makes the inspection if its time has come, and returns when it comes next.
func (i *Inspector) see(ctx context.Context, in Inspection, late bool) (next time.Time, err error) {
	now := time.Now().UTC()
	last, _, err := i.schedules.Get(in.Name)
	if errors.Is(err, state.ErrNotFound) {
		last = lastDue{At: now} // new: nothing was missed
		_, err = i.schedules.Put(in.Name, last, 0)
	}
	if err != nil {
		return now, err
	}
	due := in.schedule.Next(last.At)
	if due.After(now) {
		return due, nil
	}
	// Of several times that were missed, only the last is made up for.
	for n := in.schedule.Next(due); !n.After(now); n = in.schedule.Next(n) {
		due = n
	}
	r := Report{ID: in.Name + "-" + due.UTC().Format("20060102T150405Z"), Due: due.UTC(), By: "schedule", Late: late}
	if late {
		r.Note = fmt.Sprintf("Due at %s, when nothing ran; made at the next start.", due.UTC().Format(time.RFC3339))
	}
	if _, err := i.make(ctx, in, r); err != nil {
		return now, err
	}
	_, _, err = i.schedules.Update(in.Name, func(v *lastDue, _ bool) error {
		v.At = due.UTC()
		return nil
	})
	return in.schedule.Next(time.Now().UTC()), err
}

// Now makes an inspection by hand.
func (i *Inspector) Now(ctx context.Context, name string) (Report, error) {
	return i.NowBy(ctx, name, "system")
}

// NowBy makes an inspection that by (person:NAME) asked for.
func (i *Inspector) NowBy(ctx context.Context, name, by string) (Report, error) {
	inspections, _ := i.standing()
	n := slices.IndexFunc(inspections, func(in Inspection) bool { return in.Name == name })
	if n < 0 {
		return Report{}, fmt.Errorf("inspection %q: %w", name, ErrUnknown)
	}
	id := name + "-" + time.Now().UTC().Format("20060102T150405.000000Z")
	return i.make(ctx, inspections[n], Report{ID: id, By: by})
}

// make looks, stores the report and records its hash. A report that is stored
// already is returned as it is. One that is not done in time is made none the
// less, and says so: made again it would hardly be faster.
func (i *Inspector) make(ctx context.Context, in Inspection, as Report) (Report, error) {
	i.making.Lock()
	defer i.making.Unlock()
	if r, _, err := i.reports.Get(as.ID); err == nil {
		return r, i.record(r)
	}
	limited, cancel := context.WithTimeout(ctx, i.limit)
	defer cancel()
	r := i.look(limited, in, time.Now().UTC().Truncate(time.Millisecond))
	if err := ctx.Err(); err != nil {
		return Report{}, fmt.Errorf("inspection %s: %w", in.Name, err)
	}
	r.ID, r.Due, r.By, r.Late, r.Note = as.ID, as.Due, as.By, as.Late, as.Note
	if limited.Err() != nil {
		r.Verdict = worst(r.Verdict, NotSeen)
		r.Note = strings.TrimSpace(fmt.Sprintf("%s Not done within %v: what was left is not seen.", as.Note, i.limit))
	}
	if _, err := i.reports.Put(r.ID, r, 0); err != nil {
		return Report{}, fmt.Errorf("store report %s: %w", r.ID, err)
	}
	metrics.GetOrCreateHistogram(`nocturne_inspection_duration_seconds`).Update(r.Took.Seconds())
	return r, i.record(r)
}

// evidence is the Data of a report's entry in the ledger.
type evidence struct {
	Report  string          `json:"report"`
	SHA256  string          `json:"sha256"` // of the report as JSON
	Verdict Verdict         `json:"verdict"`
	Counts  map[Verdict]int `json:"counts"`
}

// record puts a stored report into the list and the ledger, once.
func (i *Inspector) record(r Report) error {
	if _, ok, err := i.entry(r.ID); err != nil {
		return err
	} else if !ok {
		sum, err := digest(r)
		if err != nil {
			return err
		}
		data, err := json.Marshal(evidence{Report: r.ID, SHA256: sum, Verdict: r.Verdict, Counts: r.Counts})
		if err != nil {
			return err
		}
		actor := r.By
		if actor == "schedule" {
			actor = "system"
		}
		if _, err := i.o.Ledger.Append(ledger.Entry{Kind: ledger.Report, Actor: actor, Action: "report.made", Subject: "report/" + r.ID, Data: data}); err != nil {
			return fmt.Errorf("record report %s: %w", r.ID, err)
		}
	}
	_, _, err := i.order.AppendUnique(r.ID, r.ID)
	return err
}

func digest(r Report) (string, error) {
	b, err := json.Marshal(r)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), err
}

func (i *Inspector) entry(id string) (ledger.Entry, bool, error) {
	for e, err := range i.o.Ledger.Subject("report/" + id) {
		if err != nil {
			return e, false, err
		}
		if e.Kind == ledger.Report {
			return e, true, nil
		}
	}
	return ledger.Entry{}, false, nil
}

// Reports returns the newest 100 reports, newest first. One that cannot be read
// is logged and left out.
func (i *Inspector) Reports() []Report {
	var out []Report
	for e, err := range i.order.ReadBack() {
		if len(out) >= 100 {
			break
		}
		var r Report
		if err == nil {
			r, _, err = i.reports.Get(e.Value)
		}
		if err != nil {
			i.log.Error("report is not readable", "report", e.Value, "err", err)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Report returns one report, after comparing it with the hash in the ledger.
func (i *Inspector) Report(id string) (Report, error) {
	r, _, err := i.reports.Get(id)
	if errors.Is(err, state.ErrNotFound) {
		return Report{}, fmt.Errorf("report %q: %w", id, ErrUnknown)
	}
	if err != nil {
		return Report{}, err
	}
	e, err := i.Evidence(id)
	if err != nil {
		return Report{}, err
	}
	var ev evidence
	sum, err := digest(r)
	if err = errors.Join(err, json.Unmarshal(e.Data, &ev)); err != nil {
		return Report{}, fmt.Errorf("report %s: %w", id, err)
	}
	if ev.SHA256 != sum {
		return Report{}, fmt.Errorf("report %s: it is not the one whose hash stands in ledger entry %d", id, e.Seq)
	}
	return r, nil
}

// Evidence returns a report's entry in the ledger.
func (i *Inspector) Evidence(id string) (ledger.Entry, error) {
	e, ok, err := i.entry(id)
	if err == nil && !ok {
		err = fmt.Errorf("ledger entry of report %q: %w", id, ErrUnknown)
	}
	return e, err
}

// Scheduled is a configured inspection and when it is due next.
type Scheduled struct {
	Name, Title, Schedule string
	Next                  time.Time
	Checks                int
}

// Inspections returns what is configured, in the order of the files.
func (i *Inspector) Inspections() []Scheduled {
	var out []Scheduled
	inspections, _ := i.standing()
	for _, in := range inspections {
		out = append(out, Scheduled{in.Name, in.Title, in.Schedule, in.schedule.Next(time.Now().UTC()), len(in.Checks)})
	}
	return out
}
