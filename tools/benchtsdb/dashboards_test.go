package benchtsdb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

const (
	boards = 50
	// boardEvery is when the next dashboard is opened, whether or not the
	// last one is whole.
	boardEvery = 200 * time.Millisecond
	// atOnce is how many requests a browser has under way to one server.
	atOnce = 6
)

// panel is a request of a dashboard: an instant query, or a range that ends
// with the newest samples.
type panel struct {
	query  string
	length time.Duration // 0: instant
	step   time.Duration
}

func (p panel) ask(s *server, at time.Time) ([]byte, error) {
	v := url.Values{"query": {p.query}}
	if p.length == 0 {
		v.Set("time", fmt.Sprint(at.Unix()))
		return s.get(queries, "/api/v1/query", v)
	}
	v.Set("start", fmt.Sprint(at.Add(-p.length).Unix()))
	v.Set("end", fmt.Sprint(at.Unix()))
	v.Set("step", fmt.Sprint(p.step.Seconds()))
	return s.get(queries, "/api/v1/query_range", v)
}

// board is what dashboard n asks: a switch in detail, and its rack and site.
func board(n, targets int) []panel {
	sw := n * 13 % targets
	by := fmt.Sprintf(`{instance=%q}`, device(sw))
	rack := fmt.Sprintf(`{site="dc%d",rack="r%02d"}`, sw%4, sw/4%40)
	return []panel{
		{`rate(ifHCInOctets` + by + `[5m])`, time.Hour, 15 * time.Second},
		{`sum by (instance) (rate(ifHCOutOctets` + by + `[5m]))`, time.Hour, 15 * time.Second},
		{`max_over_time(ifOpticalPower` + by + `[10m])`, 3 * time.Hour, time.Minute},
		{`avg by (rack) (ifOpticalPower` + rack + `)`, 3 * time.Hour, time.Minute},
		{`topk(5, rate(ifHCInOctets` + by + `[5m]))`, 0, 0},
		{`count by (instance) (ifOperStatus` + fmt.Sprintf(`{site="dc%d"}`, sw%4) + ` == 1)`, 0, 0},
		{`sum(increase(ifInErrors` + by + `[1h]))`, 0, 0},
		{`ifOperStatus` + fmt.Sprintf(`{instance=%q,ifName="Ethernet1/7"}`, device(sw)), 0, 0},
	}
}

// dashboards opens fifty at each server in turn while it takes the same rate
// of samples: all series each second, 100,000 a second at most.
func (b *bench) dashboards(t *testing.T, s *sender, pair []*server) {
	b.sameAnswers(t, pair)
	middle, late := make([][]float64, len(pair)), make([][]float64, len(pair))
	for round := range rounds {
		order := []int{0, 1}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, n := range order {
			took := b.openBoards(t, s, pair[n])
			middle[n] = append(middle[n], took[len(took)/2])
			late[n] = append(late[n], took[len(took)*99/100])
			pair[n].quiet(10 * time.Second)
		}
	}
	var p50, p99 []figure
	for n, to := range pair {
		p50, p99 = append(p50, spread(to.name, middle[n])), append(p99, spread(to.name, late[n]))
	}
	b.report.compare(t, row{What: "50 dashboards during ingest, p99 of a query", Unit: "ms", Digits: 1, Target: atMost(1), Key: "dashboards", Figures: p99})
	b.report.compare(t, row{What: "the same, median", Unit: "ms", Digits: 1, Figures: p50})
}

// openBoards returns how long each query took in milliseconds, sorted.
func (b *bench) openBoards(t *testing.T, s *sender, to *server) []float64 {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	sent := make(chan error, 1)
	end := b.latest(to) // queries look at whole intervals
	go func() { sent <- b.feed(ctx, s, to) }()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards took and errs
	var took []float64
	var errs []error
	beat := time.NewTicker(boardEvery)
	defer beat.Stop()
	for n := range boards {
		slots := make(chan struct{}, atOnce)
		for _, p := range board(n, max(1, b.series/ofTarget)) {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				began := time.Now()
				_, err := p.ask(to, end)
				d := time.Since(began)
				mu.Lock()
				defer mu.Unlock()
				took, errs = append(took, d.Seconds()*1e3), append(errs, err)
			})
		}
		<-beat.C
	}
	wg.Wait()
	stop()
	if err := errors.Join(append(errs, <-sent)...); err != nil {
		t.Fatal(err)
	}
	slices.Sort(took)
	return took
}

// feed sends intervals at a steady rate until ctx ends.
func (b *bench) feed(ctx context.Context, s *sender, to *server) error {
	beat := time.NewTicker(max(time.Second, time.Duration(b.series)*10*time.Microsecond))
	defer beat.Stop()
	for {
		if err := s.step(to, to.next); err != nil {
			return err
		}
		to.next++
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
	}
}

// sameAnswers holds what is compared to what it is worth: both servers answer
// the same, and something.
func (b *bench) sameAnswers(t *testing.T, pair []*server) {
	t.Helper()
	for n := range 3 {
		for _, p := range board(n, max(1, b.series/ofTarget)) {
			var got [2]any
			for i, s := range pair {
				text, err := p.ask(s, b.latest(s))
				if err != nil {
					t.Fatal(err)
				}
				got[i] = sorted(t, text)
			}
			if d := gocmp.Diff(got[1], got[0]); d != "" {
				t.Errorf("%s: nocturne answers otherwise than Prometheus:\n%.2000s", p.query, d)
			}
		}
	}
}

// sorted decodes an answer and puts its series into an order.
func sorted(t *testing.T, text []byte) []string {
	t.Helper()
	all, err := results(text)
	if err != nil || len(all) == 0 {
		t.Fatalf("an answer without series: %v: %.300s", err, text)
	}
	var out []string
	for _, r := range all {
		var v any
		if err := json.Unmarshal(r, &v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	slices.SortFunc(out, cmp.Compare)
	return out
}

func containsText(in json.RawMessage, text string) bool { return bytes.Contains(in, []byte(text)) }
