package openstack

import (
	"github.com/prometheus/common/model"

	"nocturne/collector"
)

// Metrics are what a cloud has, for those who choose from a list.
var Metrics = []collector.Metric{
	{Name: "openstack_nova_up", Type: model.MetricTypeGauge, Help: "1 when Nova answers."},
	{Name: "openstack_nova_server_status", Type: model.MetricTypeGauge, Help: "State of the server as a number: 0 is ACTIVE."},
	{Name: "openstack_nova_total_vms", Type: model.MetricTypeGauge, Help: "Servers that are seen."},
	{Name: "openstack_nova_agent_state", Type: model.MetricTypeGauge, Help: "1 when the service of Nova is up."},
	{Name: "openstack_nova_hypervisor_state", Type: model.MetricTypeGauge, Help: "1 when the hypervisor is up."},
	{Name: "openstack_nova_running_vms", Type: model.MetricTypeGauge, Help: "Servers on the hypervisor."},
	{Name: "openstack_nova_current_workload", Type: model.MetricTypeGauge, Help: "Servers that the hypervisor builds, moves or deletes."},
	{Name: "openstack_nova_vcpus_available", Type: model.MetricTypeGauge, Help: "Processors of the hypervisor."},
	{Name: "openstack_nova_vcpus_used", Type: model.MetricTypeGauge, Help: "Processors that servers were given."},
	{Name: "openstack_nova_memory_available_bytes", Type: model.MetricTypeGauge, Help: "Memory of the hypervisor.", Unit: "bytes"},
	{Name: "openstack_nova_memory_used_bytes", Type: model.MetricTypeGauge, Help: "Memory that servers were given.", Unit: "bytes"},
	{Name: "openstack_nova_local_storage_available_bytes", Type: model.MetricTypeGauge, Help: "Disk of the hypervisor.", Unit: "bytes"},
	{Name: "openstack_nova_local_storage_used_bytes", Type: model.MetricTypeGauge, Help: "Disk that servers were given.", Unit: "bytes"},
	{Name: "openstack_nova_free_disk_bytes", Type: model.MetricTypeGauge, Help: "Disk of the hypervisor that is free.", Unit: "bytes"},
}
