package linux

import (
	"bytes"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/collector"
)

// reading is one poll's sections on their way to samples and facts.
type reading struct {
	target   string
	sections map[string][]byte
	samples  []collector.Sample
	partial  []error
	fields   map[string]string // of the host fact
}

// parsers by section, in the order of their samples. mounts is read together
// with statfs.
var parsers = []struct {
	section string
	parse   func(*reading, []byte) error
}{
	{"stat", (*reading).stat},
	{"meminfo", (*reading).meminfo},
	{"loadavg", (*reading).loadavg},
	{"diskstats", (*reading).diskstats},
	{"netdev", (*reading).netdev},
	{"statfs", (*reading).filesystems},
	{"uname", (*reading).uname},
	{"osrelease", (*reading).osRelease},
	{"identity", (*reading).identity},
	{"units", (*reading).units},
}

// read turns sections into a result.
func read(t collector.Target, sections map[string][]byte) collector.Result {
	r := &reading{target: t.Name, sections: sections, fields: map[string]string{}}
	for _, p := range parsers {
		text, ok := sections[p.section]
		err := fmt.Errorf("the section is missing")
		if ok {
			err = p.parse(r, text)
		}
		if err != nil {
			r.partial = append(r.partial, fmt.Errorf("linux %s: section %s: %w", t.Name, p.section, err))
		}
	}
	res := collector.Result{Samples: r.samples, Partial: r.partial}
	if len(r.fields) > 0 {
		if t.Address != "" {
			r.fields["address"] = t.Address
		}
		res.Facts = []collector.Fact{{
			Kind: "host", Key: t.Name, Name: t.Name, Fields: r.fields,
			Binding: map[string]string{"job": job, "instance": t.Name},
		}}
	}
	return res
}

const job = "linux"

// add appends a sample of the poll's own time. kv are label names and values;
// an empty value is no label.
func (r *reading) add(name string, v float64, kv ...string) {
	b := labels.NewScratchBuilder(3 + len(kv)/2)
	b.Add(model.MetricNameLabel, name)
	b.Add("job", job)
	b.Add("instance", r.target)
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			b.Add(kv[i], strings.ToValidUTF8(kv[i+1], "�"))
		}
	}
	b.Sort()
	r.samples = append(r.samples, collector.Sample{Labels: b.Labels(), V: v})
}

// field notes what the host fact says; empty says nothing.
func (r *reading) field(name, v string) {
	if v = strings.TrimSpace(strings.ToValidUTF8(v, "�")); v != "" {
		r.fields[name] = v
	}
}

// lines yields the numbered lines that are not blank.
func lines(text []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			n++
			if len(bytes.TrimSpace(line)) > 0 && !yield(n, string(line)) {
				return
			}
		}
	}
}

// number reads a finite decimal number that is not negative.
func number(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0, fmt.Errorf("%.40q is not a number", s)
	}
	return v, nil
}

// numbers reads them all.
func numbers(fields []string) ([]float64, error) {
	out := make([]float64, len(fields))
	for i, f := range fields {
		v, err := number(f)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}
