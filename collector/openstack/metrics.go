package openstack

import (
	"strconv"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/collector"
)

// job is the label job of all series of this package.
const job = "openstack"

// serverStatus are openstack-exporter's values of openstack_nova_server_status;
// a status that is not here is -1.
var serverStatus = map[string]float64{
	"ACTIVE": 0, "BUILD": 1, "BUILD(spawning)": 2, "DELETED": 3, "ERROR": 4, "HARD_REBOOT": 5, "PASSWORD": 6,
	"REBOOT": 7, "REBUILD": 8, "RESCUE": 9, "RESIZE": 10, "SHUTOFF": 11, "SUSPENDED": 12, "UNKNOWN": 13,
	"VERIFY_RESIZE": 14, "MIGRATING": 15, "PAUSED": 16, "REVERT_RESIZE": 17, "SHELVED": 18,
	"SHELVED_OFFLOADED": 19, "SOFT_DELETED": 20,
}

// hypervisorState are the values of openstack_nova_hypervisor_state, which is
// ours: openstack-exporter has the compute service alone, under the name of its
// host, and that is often not the hypervisor's.
var hypervisorState = map[string]float64{"up": 1, "down": 0}

const mebibyte, gibibyte = 1 << 20, 1 << 30

// sample makes a sample of openstack_nova_<name>; kv are further labels.
func (v *seen) sample(name string, value float64, kv ...string) collector.Sample {
	b := labels.NewScratchBuilder(3 + len(kv)/2)
	b.Add("__name__", "openstack_nova_"+name)
	b.Add("instance", v.target)
	b.Add("job", job)
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			b.Add(kv[i], kv[i+1])
		}
	}
	b.Sort()
	return collector.Sample{Labels: b.Labels(), V: value}
}

func (v *seen) up(up bool) []collector.Sample {
	value := 0.0
	if up {
		value = 1
	}
	return []collector.Sample{v.sample("up", value)}
}

func (v *seen) samples() []collector.Sample {
	var out []collector.Sample
	add := func(name string, value float64, kv ...string) { out = append(out, v.sample(name, value, kv...)) }
	for _, s := range v.servers {
		value, known := serverStatus[s.Status]
		if !known {
			value = -1
		}
		add("server_status", value, "id", s.ID, "uuid", s.ID, "status", s.Status, "name", s.Name,
			"tenant_id", s.TenantID, "user_id", s.UserID, "address_ipv4", s.AccessIPv4, "address_ipv6", s.AccessIPv6,
			"host_id", s.HostID, "hypervisor_hostname", s.HypervisorHostname, "availability_zone", s.AvailabilityZone,
			"flavor_id", flavor(s), "instance_libvirt", s.InstanceName)
	}
	if v.all {
		add("total_vms", float64(len(v.servers)))
	}
	zones := map[string]string{} // of hosts
	for _, s := range v.services {
		if s.Binary == compute {
			zones[s.Host] = s.Zone
		}
		state := 0.0
		if s.State == "up" {
			state = 1
		}
		add("agent_state", state, "id", s.ID, "hostname", s.Host, "service", s.Binary,
			"adminState", s.Status, "zone", s.Zone, "disabledReason", s.DisabledReason)
	}
	for _, h := range v.hypervisors {
		of := []string{"hostname", h.HypervisorHostname, "availability_zone", zones[h.Service.Host]}
		if value, known := hypervisorState[h.State]; known {
			add("hypervisor_state", value, append(of, "host", h.Service.Host)...)
		}
		add("running_vms", float64(h.RunningVMs), of...)
		add("current_workload", float64(h.CurrentWorkload), of...)
		add("vcpus_available", float64(h.VCPUs), of...)
		add("vcpus_used", float64(h.VCPUsUsed), of...)
		add("memory_available_bytes", float64(h.MemoryMB)*mebibyte, of...)
		add("memory_used_bytes", float64(h.MemoryMBUsed)*mebibyte, of...)
		add("local_storage_available_bytes", float64(h.LocalGB)*gibibyte, of...)
		add("local_storage_used_bytes", float64(h.LocalGBUsed)*gibibyte, of...)
		add("free_disk_bytes", float64(h.FreeDiskGB)*gibibyte, of...)
	}
	return out
}

func itoa(n int) string { return strconv.Itoa(n) }
