package benchtsdb

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// ofTarget is how many series each switch has: ten of each port.
const ofTarget = 500

// metrics are what a switch tells of each port. The first four are busy
// counters, three more count what seldom happens, two hardly ever change, one
// is a noisy gauge.
var metrics = []string{
	"ifHCInOctets", "ifHCOutOctets", "ifHCInUcastPkts", "ifHCOutUcastPkts",
	"ifInErrors", "ifOutErrors", "ifInDiscards", "ifOperStatus", "ifHighSpeed", "ifOpticalPower",
}

// fleet is the workload: switches with 50 ports, ten labels a series.
type fleet struct {
	labels []labels.Labels // in the order of targets
}

func newFleet(series int) *fleet {
	f := &fleet{labels: make([]labels.Labels, series)}
	for i := range f.labels {
		sw, port := i/ofTarget, i%ofTarget/len(metrics)
		f.labels[i] = labels.FromStrings(
			"__name__", metrics[i%len(metrics)], "job", "snmp", "instance", device(sw), "site", fmt.Sprintf("dc%d", sw%4),
			"rack", fmt.Sprintf("r%02d", sw/4%40), "role", []string{"leaf", "spine", "border"}[sw%3],
			"ifIndex", fmt.Sprint(port+1), "ifName", fmt.Sprintf("Ethernet1/%d", port+1),
			"ifAlias", fmt.Sprintf("to-%s-%02d", device((sw*7+port)%977), port), "ifType", "ethernetCsmacd",
		)
	}
	return f
}

func device(sw int) string { return fmt.Sprintf("switch-%04d.example.net", sw) }

// value is series i's at interval k: the same in every run, and cheap, so that
// making it weighs little beside storing it.
func (f *fleet) value(i, k int) float64 {
	noise := mix(uint64(i)<<32 | uint64(k))
	own := mix(uint64(i)) // what tells this series from others
	switch m := i % len(metrics); {
	case m < 4: // up to 1 GB an interval, never down
		rate := float64(1 + own%1_000_000_000)
		return math.Floor(float64(own>>32) + rate*(float64(k)+float64(noise%1000)/1001))
	case m < 7: // once in many intervals
		return float64(own%100_000) + float64((k+int(own%97))/97)
	case m == 7:
		if noise%5000 == 0 {
			return 2
		}
		return 1
	case m == 8:
		return 25_000
	}
	wave := math.Sin(float64(k)/400 + float64(own%628)/100)
	return math.Round((-3+wave+float64(noise%100)/250)*100) / 100
}

// mix is SplitMix64's finaliser: every bit of x stirs all bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// at is the time of interval k in milliseconds. Targets are not polled all at
// once, but each keeps its own beat.
func at(start time.Time, i, k int) int64 {
	offset := mix(uint64(i/ofTarget)) % uint64(interval.Milliseconds())
	return start.UnixMilli() + int64(offset) + int64(k)*interval.Milliseconds()
}

func TestFleet(t *testing.T) {
	f := newFleet(2 * ofTarget)
	seen := map[string]bool{}
	for i, ls := range f.labels {
		if ls.Len() != 10 || seen[ls.String()] {
			t.Fatalf("series %d: %s has %d labels or stands there twice", i, ls, ls.Len())
		}
		seen[ls.String()] = true
		changed := false
		for k := 1; k < 500; k++ {
			was, is := f.value(i, k-1), f.value(i, k)
			changed = changed || is != was
			if i%len(metrics) < 7 && is < was {
				t.Fatalf("counter %s falls from %v to %v at %d", ls, was, is, k)
			}
		}
		if m := i % len(metrics); (m < 7 || m == 9) && !changed {
			t.Errorf("%s never changes", ls)
		}
	}
}
