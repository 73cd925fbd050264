// Package self is the collector's Source for the program itself: what it counts
// about its own work becomes the series of a target like any other, so that
// rules, charts and the live window see the appliance as they see all else.
package self

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"nocturne/collector"
)

const (
	// Kind is that of the target, and the value of the label job.
	Kind = "nocturne"
	// ItemKind is that of the item in the inventory.
	ItemKind = "appliance"
	// rangeLabel is on the buckets of histograms. They are many, and sum and
	// count tell what rules and charts ask for.
	rangeLabel = "vmrange"
)

// Source reads the program's own metrics.
type Source struct {
	write func(io.Writer)
	build string
}

// New takes what writes the metrics, in Prometheus' text format, and the
// version of the program.
func New(write func(io.Writer), build string) *Source { return &Source{write: write, build: build} }

// Poll reads every metric but the buckets of histograms.
func (s *Source) Poll(_ context.Context, t collector.Target) (collector.Result, error) {
	var text bytes.Buffer
	s.write(&text)
	samples, err := read(text.Bytes(), t.Name)
	if err != nil {
		return collector.Result{}, fmt.Errorf("poll %s: read the program's own metrics: %w", t.Name, err)
	}
	return collector.Result{Samples: samples, Facts: []collector.Fact{{
		Kind: ItemKind, Key: t.Name, Name: t.Name, Fields: map[string]string{"version": s.build},
		Binding: map[string]string{"job": Kind, "instance": t.Name},
	}}}, nil
}

func read(text []byte, instance string) ([]collector.Sample, error) {
	var out []collector.Sample
	p, b := textparse.NewPromParser(text, labels.NewSymbolTable(), false), labels.NewBuilder(labels.EmptyLabels())
	for {
		kind, err := p.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if kind != textparse.EntrySeries {
			continue
		}
		var ls labels.Labels
		p.Labels(&ls)
		if ls.Has(rangeLabel) {
			continue
		}
		_, _, v := p.Series()
		b.Reset(ls)
		b.Set("job", Kind)
		b.Set("instance", instance)
		out = append(out, collector.Sample{Labels: b.Labels(), V: v})
	}
}
