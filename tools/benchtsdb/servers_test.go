package benchtsdb

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// turns is how many pieces the load is sent in, to each server in turn.
const turns = 6

// servers sends the same samples to the product, to Prometheus and to
// VictoriaMetrics by remote write, looks at the dashboards of the first two
// while more comes, and kills them under load.
func (b *bench) servers(t *testing.T) {
	s := newSender(b.series, b.start)
	all := []*server{newNocturne(t), newPrometheus(t), newVictoria(t)}
	for _, to := range all {
		to.start("", time.Time{})
	}
	b.ingest(t, s, all)
	b.memory(t, all)
	b.dashboards(t, s, all[:2])
	b.reopen(t, s, all[:2])
}

// ingest measures samples of a CPU second of the server. The first interval,
// which makes the series, is a figure of its own. What a server does after a
// piece until it is quiet counts with the piece.
func (b *bench) ingest(t *testing.T, s *sender, all []*server) {
	creating := make([]figure, len(all))
	for n, to := range all {
		cpu := b.send(t, s, to, 1)
		creating[n] = one(to.name, cpu.Seconds()*1e6/float64(b.series))
	}
	spent, rates := make([]time.Duration, len(all)), make([][]float64, len(all))
	piece := (b.steps - 1 + turns - 1) / turns
	for turn := range turns {
		steps := min(piece, b.steps-all[0].next)
		if steps <= 0 {
			break
		}
		order := []int{0, 1, 2}
		if turn%2 == 1 {
			slices.Reverse(order)
		}
		for _, n := range order {
			cpu := b.send(t, s, all[n], steps)
			spent[n] += cpu
			rates[n] = append(rates[n], float64(b.series*steps)/cpu.Seconds())
			t.Logf("%s, %d intervals: %.0f samples a CPU second", all[n].name, steps, rates[n][turn])
		}
	}
	figures := make([]figure, len(all))
	for n, to := range all {
		figures[n] = spread(to.name, rates[n])
		// The whole counts, not the middle: blocks are written in one piece alone.
		figures[n].Value, figures[n].Rounds = float64(b.series*(b.steps-1))/spent[n].Seconds(), nil
	}
	b.report.compare(t, row{
		What: "remote write, samples a CPU second of the server", Unit: "M", Scale: 1e-6, Digits: 2, Target: atLeast(1), Key: "write", Figures: figures,
	})
	b.report.compare(t, row{What: "a new series by remote write, CPU", Unit: "µs", Digits: 1, Figures: creating})
}

// send gives a server its next intervals, and returns the CPU time that takes.
func (b *bench) send(t *testing.T, s *sender, to *server, steps int) time.Duration {
	t.Helper()
	before := to.cpu()
	for range steps {
		if err := s.step(to, to.next); err != nil {
			t.Fatalf("%v\n%s", err, to.tail())
		}
		to.next++
	}
	to.quiet(2 * time.Minute)
	return to.cpu() - before
}

func (b *bench) memory(t *testing.T, all []*server) {
	var figures []figure
	for _, to := range all {
		peak, err := memoryOf(to.cmd.Process.Pid, "VmHWM")
		if err != nil {
			t.Fatal(err)
		}
		figures = append(figures, one(to.name, peak))
	}
	b.report.compare(t, row{
		What: "peak RSS under that load", Unit: "MB", Scale: 1e-6, Target: atMost(1.1), Against: []string{"Prometheus"}, Key: "memory", Figures: figures,
	})
}

// reopen kills both servers in the middle of writing as fast as it can, and
// times its next start until it answers a query over all targets.
// VictoriaMetrics keeps no log and would lose the last seconds.
func (b *bench) reopen(t *testing.T, s *sender, all []*server) {
	took, worked := make([][]float64, len(all)), make([][]float64, len(all))
	for round := range rounds {
		order := []int{0, 1}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, n := range order {
			to := all[n]
			b.killInLoad(t, s, to)
			last := b.latest(to)
			d := to.start("count(ifOperStatus)", last)
			took[n], worked[n] = append(took[n], d.Seconds()), append(worked[n], to.cpu().Seconds())
			got, err := to.instant(queries, "count(ifOperStatus)", last)
			if err != nil || len(got) != 1 {
				t.Fatalf("%s after kill -9: %s, %v", to.name, got, err)
			}
			if want := fmt.Sprintf(`"%d"`, b.series/len(metrics)); round == 0 && to.name == "nocturne" && !containsText(got[0], want) {
				t.Errorf("after kill -9 an acknowledged interval has %s, want %s series", got[0], want)
			}
			to.quiet(30 * time.Second)
		}
	}
	var wall, cpu []figure
	for n, to := range all {
		wall, cpu = append(wall, spread(to.name, took[n])), append(cpu, spread(to.name, worked[n]))
	}
	b.report.compare(t, row{
		What: "opening after kill -9 under full load, to the first answer", Unit: "s", Digits: 2, Target: atMost(1), Against: []string{"Prometheus"}, Key: "open", Figures: wall,
	})
	b.report.compare(t, row{What: "the same in CPU time", Unit: "s", Digits: 2, Figures: cpu})
}

// killInLoad kills the server a few intervals after sending begins.
func (b *bench) killInLoad(t *testing.T, s *sender, to *server) {
	t.Helper()
	stepped, done := make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		for {
			if err := s.step(to, to.next); err != nil {
				done <- err
				return
			}
			to.next++
			select {
			case stepped <- struct{}{}:
			default:
			}
		}
	}()
	for range 5 {
		select {
		case <-stepped:
		case err := <-done:
			t.Fatalf("before it was killed: %v", err)
		}
	}
	to.kill()
	<-done
}

// latest is when the last interval that a server has whole was over.
func (b *bench) latest(to *server) time.Time {
	return b.start.Add(time.Duration(to.next) * interval)
}
