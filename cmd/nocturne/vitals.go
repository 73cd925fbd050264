package main

import (
	"fmt"
	"io"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sys/unix"

	"nocturne/collector"
	"nocturne/collector/self"
)

// selfName is the target that stands for this program.
const selfName = "nocturne"

// writeMetrics writes what the program counts, and the vital signs that are
// read from its parts when asked for.
func (h *house) writeMetrics(w io.Writer) {
	metrics.WritePrometheus(w, true)
	metrics.WriteFDMetrics(w)
	h.writeVitals(w, time.Now())
}

func (h *house) writeVitals(w io.Writer, now time.Time) {
	gauge := func(v float64, format string, args ...any) {
		metrics.WriteGaugeFloat64(w, fmt.Sprintf(format, args...), v)
	}
	h.writeStores(gauge)
	for kind, n := range countTargets(h.collector.Status(), h.started, now) {
		gauge(float64(n.known), "nocturne_collector_targets_known{kind=%q}", kind)
		gauge(float64(n.unseen), "nocturne_collector_targets_unseen{kind=%q}", kind)
	}
	for _, n := range h.alerts.Notifiers() {
		gauge(float64(n.Waiting), "nocturne_alerting_notifications_waiting{receiver=%q}", n.Name)
	}
	regions, _, _ := h.jobs.Regions()
	for _, r := range regions {
		oldest := time.Duration(0)
		if !r.Oldest.IsZero() {
			oldest = now.Sub(r.Oldest)
		}
		gauge(float64(r.Waiting), "nocturne_automation_tasks_waiting{region=%q}", r.Name)
		gauge(oldest.Seconds(), "nocturne_automation_oldest_task_seconds{region=%q}", r.Name)
	}
	if late := h.backup.Status().Late; !late.IsZero() {
		gauge(now.Sub(late).Seconds(), "nocturne_backup_overdue_seconds")
	}
	if v, ok := h.ledger.LastVerdict(); ok {
		broken := 0.0
		if v.Err != nil {
			broken = 1
		}
		gauge(broken, "nocturne_ledger_broken")
		gauge(float64(v.At.Unix()), "nocturne_ledger_checked_timestamp_seconds")
	}
}

// writeStores tells what is on disk. A file system that cannot be asked is
// left out: its room is then not seen.
func (h *house) writeStores(gauge func(v float64, format string, args ...any)) {
	var fs unix.Statfs_t
	if err := unix.Statfs(h.cfg.Data, &fs); err == nil {
		gauge(float64(fs.Bavail)*float64(fs.Bsize), "nocturne_data_free_bytes")
		gauge(float64(fs.Blocks)*float64(fs.Bsize), "nocturne_data_size_bytes")
	} else {
		h.log.Warn("the disk of the data cannot be asked", "component", "nocturne", "err", err)
	}
	st := h.history.Stats()
	held := st.Bytes
	for _, t := range st.Tiers {
		held += t.Bytes
	}
	gauge(float64(held), "nocturne_history_bytes")
	gauge(float64(st.Series), "nocturne_history_series")
	gauge(float64(h.state.Size()), "nocturne_state_bytes")
}

type targetCount struct{ known, unseen int }

// countTargets counts by kind, without the program itself. A target is unseen
// when it answered nothing for three of its intervals; one that is new has
// that long for its first answer.
func countTargets(all []collector.TargetStatus, started, now time.Time) map[string]targetCount {
	out := map[string]targetCount{}
	for _, t := range all {
		if t.Kind == self.Kind {
			continue
		}
		last := t.LastOK
		if last.IsZero() {
			last = started
		}
		n := out[t.Kind]
		n.known++
		if now.Sub(last) > 3*t.Interval {
			n.unseen++
		}
		out[t.Kind] = n
	}
	return out
}
