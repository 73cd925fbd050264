package main

import (
	"strings"
	"testing"
	"time"

	"nocturne/tsdb"
)

func TestTiersConfig(t *testing.T) {
	c, err := LoadConfig(writeConfig(t, "history:\n  size: 20GB\n  tiers:\n    5m: {retention: 90d, size: 1.5GiB}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.History.Tiers.FiveMin.keep(), (tsdb.Keep{Age: 90 * 24 * time.Hour, Bytes: 3 << 29}); got != want {
		t.Errorf("5m keeps %+v, want %+v", got, want)
	}
	if got, want := c.History.Tiers.Hourly.keep(), (tsdb.Keep{Age: 3 * 365 * 24 * time.Hour}); got != want {
		t.Errorf("1h keeps %+v, want %+v", got, want)
	}
	if c.History.Size != 20_000_000_000 {
		t.Errorf("20GB are %d bytes", c.History.Size)
	}
	for text, want := range map[string]string{
		"history: {size: much}\n":                                                 ":1: history.size",
		"history: {size: -1}\n":                                                   ":1: history.size",
		"history: {tiers: {1h: {size: NaN}}}\n":                                   ":1: history.tiers.1h.size",
		"history: {tiers: {5m: {retention: 2h}}}\n":                               "history.tiers.5m.retention: 2h is under a day",
		"history: {tiers: {1h: {retention: 30d}}}\n":                              "history.tiers.1h.retention: 30d is shorter than that of 5m",
		"history: {remote: {url: \"http://x\"}, tiers: {5m: {retention: 90d}}}\n": "history.tiers.5m.retention: has no effect beside history.remote",
		"history: {remote: {url: \"http://x\"}, tiers: {1h: {size: 1GB}}}\n":      "history.tiers.1h.size: has no effect beside history.remote",
		"history: {tiers: {15m: {retention: 30d}}}\n":                             "15m",
	} {
		if _, err := LoadConfig(writeConfig(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", text, err, want)
		}
	}
}
