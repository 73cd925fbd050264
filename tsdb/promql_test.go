package tsdb

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// TestPromQL runs Prometheus' own query tests over a store opened as ours is.
func TestPromQL(t *testing.T) {
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	promqltest.RunBuiltinTestsWithStorage(withoutStartTimes{t}, engine, func(tb testing.TB) storage.Storage {
		o := settings(Options{Dir: tb.TempDir()})
		o.RetentionDuration = 0 // their samples are of 1970
		// They load a series after the other, so the head must span all.
		o.MinBlockDuration = (24 * time.Hour).Milliseconds()
		o.MaxBlockDuration = o.MinBlockDuration
		o.OutOfOrderTimeWindow = 0
		db, err := tsdb.Open(tb.TempDir(), nil, nil, o, nil)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { db.Close() })
		return db
	})
}

// withoutStartTimes leaves out the script on start timestamps, which DB does
// not store.
type withoutStartTimes struct{ *testing.T }

func (t withoutStartTimes) Run(name string, f func(*testing.T)) bool {
	if strings.HasSuffix(name, "/start_timestamps.test") {
		return true
	}
	return t.T.Run(name, f)
}
