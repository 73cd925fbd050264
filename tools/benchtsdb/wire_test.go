package benchtsdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	perBody     = 2000 // samples, as Prometheus sends at most by default
	connections = 4
)

// body is a remote-write request of one sample a series whose values and times
// are put in place: what is sent is the same for every receiver and costs the
// sender little. Version 1 of the protocol:
// https://prometheus.io/docs/specs/prw/remote_write_spec/
type body struct {
	raw   []byte
	first int   // series
	spots []int // of each series: where the value's 8 bytes begin, the time's after its tag
}

// timeBytes is the length of a varint of milliseconds from 2004 to 2109.
const timeBytes = 6

func newBodies(f *fleet) []body {
	var out []body
	for first := 0; first < len(f.labels); first += perBody {
		out = append(out, newBody(f.labels[first:min(first+perBody, len(f.labels))], first))
	}
	return out
}

func newBody(series []labels.Labels, first int) body {
	b := body{first: first}
	for _, ls := range series {
		var ts []byte
		ls.Range(func(l labels.Label) {
			pair := field(field(nil, 1, l.Name), 2, l.Value)
			ts = field(ts, 1, string(pair))
		})
		sample := append([]byte{1<<3 | 1}, make([]byte, 8)...)
		sample = append(append(sample, 2<<3), make([]byte, timeBytes)...)
		ts = field(ts, 2, string(sample))
		b.raw = field(b.raw, 1, string(ts))
		b.spots = append(b.spots, len(b.raw)-timeBytes-1-8)
	}
	return b
}

// field appends a length-delimited field of protobuf.
func field(to []byte, number int, value string) []byte {
	to = binary.AppendUvarint(to, uint64(number)<<3|2)
	return append(binary.AppendUvarint(to, uint64(len(value))), value...)
}

// fill writes interval k's samples into a copy of the template.
func (b body) fill(buf []byte, f *fleet, start time.Time, k int) []byte {
	buf = append(buf[:0], b.raw...)
	for n, spot := range b.spots {
		binary.LittleEndian.PutUint64(buf[spot:], math.Float64bits(f.value(b.first+n, k)))
		if binary.PutUvarint(buf[spot+9:], uint64(at(start, b.first+n, k))) != timeBytes {
			panic("a time before 2004 or after 2109")
		}
	}
	return buf
}

// sender writes a fleet's samples to receivers, one interval after the other,
// over a few connections.
type sender struct {
	fleet  *fleet
	bodies []body
	start  time.Time
	client *http.Client
}

func newSender(series int, start time.Time) *sender {
	f := newFleet(series)
	return &sender{
		fleet: f, bodies: newBodies(f), start: start,
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}},
	}
}

// step sends interval k whole, before it returns, so that no series' samples
// come out of order. It returns the first error.
func (s *sender) step(to *server, k int) error {
	var next atomic.Int64
	errs := make([]error, connections)
	var wg sync.WaitGroup
	for c := range connections {
		wg.Go(func() {
			var raw []byte
			for errs[c] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(s.bodies) {
					return
				}
				raw = s.bodies[n].fill(raw, s.fleet, s.start, k)
				errs[c] = s.post(to, raw)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("send interval %d to %s: %w", k, to.name, err)
		}
	}
	return nil
}

func (s *sender) post(to *server, raw []byte) error {
	packed, err := compression.Encode(compression.Snappy, raw, nil)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, to.url+"/api/v1/write", bytes.NewReader(packed))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	to.authorize(req)
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %.300s", resp.Status, text)
	}
	return err
}

// TestBody holds the template against Prometheus' own decoder.
func TestBody(t *testing.T) {
	f, start := newFleet(ofTarget), time.Now().Truncate(time.Minute)
	bodies := newBodies(f)
	if len(bodies) != 1 {
		t.Fatalf("%d bodies", len(bodies))
	}
	for _, k := range []int{0, 371} {
		var got, want prompb.WriteRequest
		if err := got.Unmarshal(bodies[0].fill(nil, f, start, k)); err != nil {
			t.Fatal(err)
		}
		for i, ls := range f.labels {
			want.Timeseries = append(want.Timeseries, prompb.TimeSeries{
				Labels: prompb.FromLabels(ls, nil), Samples: []prompb.Sample{{Value: f.value(i, k), Timestamp: at(start, i, k)}},
			})
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	}
}
