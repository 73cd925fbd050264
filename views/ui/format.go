package ui

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Clock writes t as a time of day in UTC.
func Clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("15:04:05")
}

// Stamp writes t with its date, in UTC.
func Stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// Day writes t as a time of day when it lies on now's day, with its date when
// it does not.
func Day(now, t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	if now.UTC().Format(time.DateOnly) == t.UTC().Format(time.DateOnly) {
		return Clock(t)
	}
	return t.UTC().Format("02 Jan 15:04")
}

// Span writes a duration with its two largest units: "3 min 20 s".
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "–"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	}
	s := int64(d.Round(time.Second) / time.Second)
	parts := []struct {
		n    int64
		unit string
	}{{s / 86400, "d"}, {s / 3600 % 24, "h"}, {s / 60 % 60, "min"}, {s % 60, "s"}}
	var out []string
	for _, p := range parts {
		if p.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", p.n, p.unit))
		} else if len(out) > 0 {
			break
		}
		if len(out) == 2 {
			break
		}
	}
	return strings.Join(out, " ")
}

// Ago writes how long before now t was, in its largest unit: "3 min ago".
func Ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < 2*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d d ago", int(d.Hours()/24))
}

// Count writes n with its noun: "1 rack", "8 racks".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// Grouped writes n with its thousands apart: "1,284,000".
func Grouped[T ~int | ~int64 | ~uint64](n T) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Bytes writes a size with its decimal prefix: "12.1 GB".
func Bytes(n int64) string {
	v := float64(n)
	for _, p := range []struct {
		at   float64
		unit string
	}{{1e15, "PB"}, {1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if v >= p.at {
			return strconv.FormatFloat(v/p.at, 'f', max(0, 2-int(math.Log10(v/p.at))), 64) + " " + p.unit
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// line is the path of a sparkline in a 100 x 24 box; what was not seen leaves
// a gap. area closes it down to the floor, only when nothing is missing.
func (s Spark) line(area bool) string {
	lo, hi := math.Inf(1), math.Inf(-1)
	gaps := false
	for _, v := range s.Points {
		if math.IsNaN(v) {
			gaps = true
			continue
		}
		lo, hi = min(lo, v), max(hi, v)
	}
	if len(s.Points) < 2 || math.IsInf(lo, 1) || area && gaps {
		return ""
	}
	if hi == lo {
		lo, hi = lo-1, hi+1
	}
	var b strings.Builder
	pen := "M"
	for i, v := range s.Points {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		x := 100 * float64(i) / float64(len(s.Points)-1)
		y := 22 - 20*(v-lo)/(hi-lo)
		fmt.Fprintf(&b, "%s%.4g %.4g", pen, x, y)
		pen = "L"
	}
	if area {
		b.WriteString("L100 24L0 24Z")
	}
	return b.String()
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// PhaseTone maps the phase of a job, a step, an alert or an incident to the
// tone of its label: run, good, bad, open (not known) or "" for waiting.
func PhaseTone(phase string) string {
	switch phase {
	case "running", "verifying", "repairing", "leased", "connecting", "sent", "firing", "waiting", "pending", "active":
		return "run"
	case "succeeded", "ok", "resolved", "cleared", "done":
		return "good"
	case "failed", "escalated", "not cleared", "open", "error":
		return "bad"
	case "unknown", "not seen":
		return "open"
	}
	return ""
}

func phaseIcon(phase string) string {
	switch PhaseTone(phase) {
	case "run":
		return "play"
	case "good":
		return "check"
	case "bad":
		return "x"
	case "open":
		return "circle-help"
	}
	if phase == "queued" || phase == "ready" {
		return "clock"
	}
	return "pause"
}
