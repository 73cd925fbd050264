package collector

import "github.com/prometheus/common/model"

// Metric says what the series of one name are, for those who choose from a
// list. Each Source's package has the list of what it writes.
type Metric struct {
	Name string
	Type model.MetricType
	Help string
	Unit string
}

// OwnMetrics are written by the Scheduler for every target.
var OwnMetrics = []Metric{
	{Name: "up", Type: model.MetricTypeGauge, Help: "1 when the last poll of the target was answered, else 0."},
	{Name: "scrape_duration_seconds", Type: model.MetricTypeGauge, Help: "How long the last poll took.", Unit: "seconds"},
	{Name: PartialMetric, Type: model.MetricTypeGauge, Help: "1 when the last poll was answered and did not see all that it asked for, else 0."},
}
