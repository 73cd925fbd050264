package main

import (
	"time"

	"nocturne/collector"
	"nocturne/collector/linux"
	"nocturne/collector/openstack"
	"nocturne/collector/self"
	"nocturne/collector/snmp"
)

// described are the metrics of the targets of each kind.
func described() map[string][]collector.Metric {
	return map[string][]collector.Metric{
		"local": linux.Metrics, "linux": linux.Metrics, "snmp": snmp.Metrics, "openstack": openstack.Metrics, self.Kind: self.Metrics,
	}
}

// intervals are those of targets and of rules that name none.
func (h *house) intervals() (poll, eval time.Duration) {
	return h.config().Collector.Interval, h.config().Alerting.Interval
}
