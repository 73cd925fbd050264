package main

import "nocturne/tsdb/live"

// LiveConfig bounds the window of one-second points.
type LiveConfig struct {
	MaxSeries int   `yaml:"max_series"`
	MaxBytes  Bytes `yaml:"max_bytes"` // of memory
}

func (c LiveConfig) options() live.Options {
	return live.Options{MaxSeries: c.MaxSeries, MaxBytes: int(c.MaxBytes)}
}

func (c LiveConfig) validate(f *faults) {
	if c.MaxSeries < 1 {
		f.add("live.max_series", "must be at least 1")
	}
	if c.MaxBytes < 1<<20 {
		f.add("live.max_bytes", "%d bytes are under 1MiB", c.MaxBytes)
	}
}
