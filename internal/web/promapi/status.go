package promapi

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/tsdb/index"
)

// apiVersion is the Prometheus whose API this is. Clients choose what they
// ask for by it; ours stands beside it.
const apiVersion = "3.15.0"

type build struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`
	Nocturne  string `json:"nocturne"`
}

// buildInfo says which Prometheus' API this is. There must be no field
// "features" in it: Grafana takes what has one for a Mimir.
func (a *api) buildInfo(*http.Request) answer {
	b := build{Version: apiVersion, GoVersion: runtime.Version(), Nocturne: a.Build}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.time":
				b.BuildDate = s.Value
			}
		}
	}
	return answer{data: b}
}

type runtimeInfo struct {
	StartTime           time.Time `json:"startTime"`
	CWD                 string    `json:"CWD"`
	Hostname            string    `json:"hostname"`
	ServerTime          time.Time `json:"serverTime"`
	ReloadConfigSuccess bool      `json:"reloadConfigSuccess"`
	LastConfigTime      time.Time `json:"lastConfigTime"`
	CorruptionCount     int64     `json:"corruptionCount"`
	GoroutineCount      int       `json:"goroutineCount"`
	GOMAXPROCS          int       `json:"GOMAXPROCS"`
	GOMEMLIMIT          int64     `json:"GOMEMLIMIT"`
	GOGC                string    `json:"GOGC"`
	GODEBUG             string    `json:"GODEBUG"`
	StorageRetention    string    `json:"storageRetention"`
}

// runtimeInfo leaves the working folder out: who may look need not know it.
func (a *api) runtimeInfo(*http.Request) answer {
	host, err := os.Hostname()
	if err != nil {
		return internal(fmt.Errorf("read the host's name: %w", err))
	}
	return answer{data: runtimeInfo{
		StartTime: a.Started.UTC(), Hostname: host, ServerTime: time.Now().UTC(), ReloadConfigSuccess: true, LastConfigTime: a.Started.UTC(),
		CorruptionCount: int64(len(a.DB.Stats().SetAside)), GoroutineCount: runtime.NumGoroutine(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		GOMEMLIMIT: debug.SetMemoryLimit(-1), GOGC: os.Getenv("GOGC"), GODEBUG: os.Getenv("GODEBUG"),
		StorageRetention: model.Duration(a.DB.QueryLimits().Retention).String(),
	}}
}

// config is as much of a Prometheus' configuration as ours has in common
// with it.
func (a *api) config(*http.Request) answer {
	yaml := "global: {}\n"
	if a.Interval != nil {
		poll, eval := a.Interval()
		yaml = fmt.Sprintf("global:\n  scrape_interval: %s\n  evaluation_interval: %s\n", model.Duration(poll), model.Duration(eval))
	}
	return answer{data: map[string]string{"yaml": yaml}}
}

// flags are the settings that bound a query, under the names of Prometheus'
// flags.
func (a *api) flags(*http.Request) answer {
	l := a.DB.QueryLimits()
	return answer{data: map[string]string{
		"query.lookback-delta":        "5m",
		"query.max-concurrency":       strconv.Itoa(l.MaxConcurrent),
		"query.max-samples":           strconv.Itoa(l.MaxSamples),
		"query.timeout":               model.Duration(l.Timeout).String(),
		"storage.tsdb.retention.time": model.Duration(l.Retention).String(),
	}}
}

// replay says that the log was read: nothing is answered before it is.
func (a *api) replay(*http.Request) answer {
	return answer{data: struct {
		Min     int `json:"min"`
		Max     int `json:"max"`
		Current int `json:"current"`
	}{}}
}

type counted struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

type head struct {
	Series     uint64 `json:"numSeries"`
	LabelPairs int    `json:"numLabelPairs"`
	Chunks     int64  `json:"chunkCount"`
	MinTime    int64  `json:"minTime"`
	MaxTime    int64  `json:"maxTime"`
}

type headStatus struct {
	Head            head      `json:"headStats"`
	SeriesByMetric  []counted `json:"seriesCountByMetricName"`
	ValuesByLabel   []counted `json:"labelValueCountByLabelName"`
	MemoryByLabel   []counted `json:"memoryInBytesByLabelName"`
	SeriesByPairing []counted `json:"seriesCountByLabelValuePair"`
}

const (
	defaultHeadStats = 10
	maxHeadStats     = 10000
)

func (a *api) headStats(r *http.Request) answer {
	limit, err := wholeNumber(r, "limit")
	switch {
	case r.FormValue("limit") == "":
		limit = defaultHeadStats
	case err != nil || limit < 1:
		return badData(errors.New("limit must be a positive number"))
	case limit > maxHeadStats:
		return badData(fmt.Errorf("limit must not exceed %d", maxHeadStats))
	}
	st, chunks := a.DB.HeadStats(limit)
	p := st.IndexPostingStats
	return answer{data: headStatus{
		Head:           head{st.NumSeries, p.NumLabelPairs, chunks, st.MinTime, st.MaxTime},
		SeriesByMetric: countedOf(p.CardinalityMetricsStats), ValuesByLabel: countedOf(p.CardinalityLabelStats),
		MemoryByLabel: countedOf(p.LabelValueStats), SeriesByPairing: countedOf(p.LabelValuePairsStats),
	}}
}

func countedOf(stats []index.Stat) []counted {
	out := make([]counted, len(stats))
	for i, s := range stats {
		out[i] = counted{s.Name, s.Count}
	}
	return out
}
