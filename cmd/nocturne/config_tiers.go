package main

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/tsdb"
)

// TiersConfig bounds the rollups of 5 min and of 1 h.
type TiersConfig struct {
	FiveMin TierConfig `yaml:"5m"`
	Hourly  TierConfig `yaml:"1h"`
}

// TierConfig bounds one of them.
type TierConfig struct {
	Retention model.Duration `yaml:"retention"`
	Size      Bytes          `yaml:"size"` // 0 is no limit
}

func (c TierConfig) keep() tsdb.Keep {
	return tsdb.Keep{Age: time.Duration(c.Retention), Bytes: int64(c.Size)}
}

// Bytes is an amount of storage, written as "500MB", "20GiB" or a plain number
// of bytes.
type Bytes int64

var byteUnits = []struct {
	name string
	of   float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	for _, u := range byteUnits {
		number, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(n >= 0) || n*u.of > math.MaxInt64/2 {
			break
		}
		*b = Bytes(n * u.of)
		return nil
	}
	return fmt.Errorf("%q is no amount of storage, such as 20GB or 500MiB", text)
}

// defaultTiers are what the store itself takes when nothing is said.
var defaultTiers = TiersConfig{
	FiveMin: TierConfig{Retention: model.Duration(180 * 24 * time.Hour)},
	Hourly:  TierConfig{Retention: model.Duration(3 * 365 * 24 * time.Hour)},
}

func (c *HistoryConfig) validateTiers(f *faults) {
	if c.Retention < model.Duration(time.Hour) {
		f.add("history.retention", "%s is under an hour", c.Retention)
	}
	for _, t := range []struct {
		name string
		TierConfig
	}{{"5m", c.Tiers.FiveMin}, {"1h", c.Tiers.Hourly}} {
		if t.Retention < model.Duration(24*time.Hour) {
			f.add("history.tiers."+t.name+".retention", "%s is under a day", t.Retention)
		}
	}
	if c.Remote != nil {
		c.Tiers.without(f)
	}
	if c.Tiers.Hourly.Retention < c.Tiers.FiveMin.Retention {
		f.add("history.tiers.1h.retention", "%s is shorter than that of 5m", c.Tiers.Hourly.Retention)
	}
}

// without names what is set of tiers that are not kept: rolling up is the
// remote store's business.
func (c TiersConfig) without(f *faults) {
	for _, t := range []struct {
		name        string
		set, preset TierConfig
	}{{"5m", c.FiveMin, defaultTiers.FiveMin}, {"1h", c.Hourly, defaultTiers.Hourly}} {
		if t.set.Retention != t.preset.Retention {
			f.add("history.tiers."+t.name+".retention", "has no effect beside history.remote: nothing is rolled up here")
		}
		if t.set.Size != t.preset.Size {
			f.add("history.tiers."+t.name+".size", "has no effect beside history.remote: nothing is rolled up here")
		}
	}
}

// history is where and how samples are kept.
func (c Config) history() tsdb.Options {
	return tsdb.Options{
		Dir:       filepath.Join(c.Data, "history"),
		Retention: time.Duration(c.History.Retention), OutOfOrder: time.Duration(c.History.OutOfOrder),
		Interval: c.Collector.Interval, Limits: c.History.Limits.limits(), MaxAhead: time.Duration(c.History.MaxAhead),
		RawBytes: int64(c.History.Size), FiveMin: c.History.Tiers.FiveMin.keep(), Hourly: c.History.Tiers.Hourly.keep(),
	}
}
