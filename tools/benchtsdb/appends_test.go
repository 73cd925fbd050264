package benchtsdb

import (
	"path/filepath"
	"testing"
)

// rounds is how often the appends in-process are done with each engine.
const rounds = 3

// appends holds tsdb.DB against the bare library, each in a process of its
// own, in turns there and back: samples of a CPU second, and bytes a sample in
// the blocks that are written on the way.
func (b *bench) appends(t *testing.T) {
	rate, creating, disk := map[string][]float64{}, map[string][]float64{}, map[string]float64{}
	for round := range rounds {
		order := []string{"library", "nocturne"}
		if round%2 == 1 {
			order[0], order[1] = order[1], order[0]
		}
		for _, engine := range order {
			spec := childSpec{Engine: engine, Dir: filepath.Join(t.TempDir(), engine), Series: b.series, Steps: b.steps, Start: b.start}
			if dir := textOr("NOCTURNE_BENCH_PROFILE", ""); dir != "" {
				spec.Profile = filepath.Join(dir, engine+".cpu.pprof")
			}
			r := inChild(t, spec)
			rate[engine] = append(rate[engine], float64(r.Samples)/r.CPU.Seconds())
			creating[engine] = append(creating[engine], r.Creating.Seconds()*1e6/float64(b.series))
			bytes, samples, err := blocksIn(spec.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if samples > 0 {
				disk[engine] = float64(bytes) / float64(samples)
			}
			t.Logf("%s: %.2f M samples a CPU second, peak RSS %.0f MB", engine, rate[engine][round]/1e6, r.Peak/1e6)
		}
	}
	b.report.compare(t, row{
		What: "appends in-process, samples a CPU second", Unit: "M", Scale: 1e-6, Digits: 2, Target: atLeast(0.9), Key: "appends",
		Figures: []figure{spread("nocturne", rate["nocturne"]), spread("library", rate["library"])},
	})
	b.report.compare(t, row{
		What: "a new series in-process, CPU", Unit: "µs", Digits: 1,
		Figures: []figure{spread("nocturne", creating["nocturne"]), spread("library", creating["library"])},
	})
	if len(disk) == 2 {
		b.report.compare(t, row{
			What: "disk a sample, in blocks", Unit: "B", Digits: 3, Target: atMost(1.05),
			Figures: []figure{one("nocturne", disk["nocturne"]), one("library", disk["library"])},
		})
	}
}
