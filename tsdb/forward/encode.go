package forward

import (
	"fmt"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/util/compression"
)

// Protocols of remote write.
const (
	Protocol1 = "1" // https://prometheus.io/docs/specs/prw/remote_write_spec/
	Protocol2 = "2" // https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
)

// encode makes the body of a request: protobuf in a snappy block.
func encode(protocol string, runs []run) ([]byte, error) {
	body, err := message(protocol, runs)
	if err != nil {
		return nil, fmt.Errorf("encode %d series: %w", len(runs), err)
	}
	packed, err := compression.Encode(compression.Snappy, body, nil)
	if err != nil {
		return nil, fmt.Errorf("compress %d series: %w", len(runs), err)
	}
	return packed, nil
}

func message(protocol string, runs []run) ([]byte, error) {
	if protocol == Protocol2 {
		return message2(runs)
	}
	req := prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, len(runs))}
	for i, r := range runs {
		s := make([]prompb.Sample, len(r.samples))
		for j, x := range r.samples {
			s[j] = prompb.Sample{Timestamp: x.t, Value: x.v}
		}
		req.Timeseries[i] = prompb.TimeSeries{Labels: prompb.FromLabels(r.labels, nil), Samples: s}
	}
	return req.Marshal()
}

func message2(runs []run) ([]byte, error) {
	symbols := writev2.NewSymbolTable()
	req := writev2.Request{Timeseries: make([]writev2.TimeSeries, len(runs))}
	for i, r := range runs {
		s := make([]writev2.Sample, len(r.samples))
		for j, x := range r.samples {
			s[j] = writev2.Sample{Timestamp: x.t, Value: x.v}
		}
		req.Timeseries[i] = writev2.TimeSeries{LabelsRefs: symbols.SymbolizeLabels(r.labels, nil), Samples: s}
	}
	req.Symbols = symbols.Symbols()
	return req.OptimizedMarshal(nil)
}
