package openstack

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"nocturne/collector"
	"nocturne/internal/cloudconn"
)

// compute is the service that runs the servers of a host.
const compute = "nova-compute"

func (v *seen) facts() []collector.Fact {
	computes := map[string]string{} // host -> state of its nova-compute
	for _, s := range v.services {
		if s.Binary == compute {
			computes[s.Host] = s.State
		}
	}
	out := []collector.Fact{v.cloudFact()}
	for _, h := range v.hypervisors {
		out = append(out, v.hypervisorFact(h))
	}
	for _, s := range v.servers {
		out = append(out, v.instanceFact(s, computes))
	}
	return out
}

// binding names the series of this target that carry a label.
func (v *seen) binding(kv ...string) map[string]string {
	b := map[string]string{"job": job, "instance": v.target}
	for i := 0; i+1 < len(kv); i += 2 {
		b[kv[i]] = kv[i+1]
	}
	return b
}

func (v *seen) cloudFact() collector.Fact {
	view := "all projects"
	if !v.all {
		view = "own project"
	}
	return collector.Fact{
		Kind: "cloud", Key: v.target, Name: v.target, Binding: v.binding(),
		Fields: filled(map[string]string{"view": view, "auth_url": v.cloud.AuthURL, "region": v.cloud.Region, "microversion": v.microversion}),
	}
}

// hypervisor is the key of a hypervisor: clouds choose names without asking
// each other.
func (v *seen) hypervisor(hostname string) string { return v.target + "/" + hostname }

func (v *seen) hypervisorFact(h hypervisors.Hypervisor) collector.Fact {
	f := collector.Fact{
		Kind: "hypervisor", Key: v.hypervisor(h.HypervisorHostname), Formerly: h.HypervisorHostname, Name: h.HypervisorHostname,
		Binding:   v.binding("hostname", h.HypervisorHostname),
		Relations: []collector.Relation{{Type: "member-of", Kind: "cloud", Key: v.target}},
		Fields: filled(map[string]string{
			"id": h.ID, "host": h.Service.Host, "host_ip": h.HostIP, "type": h.HypervisorType,
			"vcpus": itoa(h.VCPUs), "memory_mb": itoa(h.MemoryMB), "local_gb": itoa(h.LocalGB),
			"state": h.State, "status": h.Status, "disabled_reason": h.Service.DisabledReason,
		}),
	}
	if h.Service.Host != "" {
		f.Relations = append(f.Relations, collector.Relation{Type: "runs-on", Kind: "host", Key: h.Service.Host})
	}
	return f
}

func (v *seen) instanceFact(s servers.Server, computes map[string]string) collector.Fact {
	f := collector.Fact{
		Kind: "instance", Key: s.ID, Name: cmp.Or(s.Name, s.ID),
		Binding:   v.binding("id", s.ID),
		Relations: []collector.Relation{{Type: "member-of", Kind: "cloud", Key: v.target}},
		Fields: filled(map[string]string{
			"status": s.Status, "vm_state": s.VmState, "task_state": s.TaskState, "power_state": s.PowerState.String(),
			"project": s.TenantID, "flavor": flavor(s), "host": s.Host, "availability_zone": s.AvailabilityZone,
			"addresses": addresses(s.Addresses), "created": s.Created.UTC().Format(time.RFC3339),
		}),
	}
	if s.HypervisorHostname != "" {
		f.Relations = append(f.Relations, collector.Relation{Type: "runs-on", Kind: "hypervisor", Key: v.hypervisor(s.HypervisorHostname)})
	}
	// A list of services that failed once says nothing: the state told before
	// stays, or an instance on a dead host would look well for one poll.
	if lost := v.noServices != nil && !errors.Is(v.noServices, cloudconn.ErrForbidden); !lost && (s.Host != "" || !v.all) {
		f.Fields["host_state"] = cmp.Or(computes[s.Host], "unknown")
	}
	return f
}

// flavor is the flavor's name, as an answer holds it from 2.47 on, or its ID.
func flavor(s servers.Server) string {
	for _, key := range []string{"original_name", "id"} {
		if v, ok := s.Flavor[key].(string); ok {
			return v
		}
	}
	return ""
}

// addresses are all addresses of a server, by network.
func addresses(networks map[string]any) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		list, _ := networks[name].([]any)
		var here []string
		for _, a := range list {
			if m, ok := a.(map[string]any); ok {
				here = append(here, fmt.Sprint(m["addr"]))
			}
		}
		slices.Sort(here)
		out = append(out, here...)
	}
	return strings.Join(out, ", ")
}

// filled leaves out what is not said.
func filled(m map[string]string) map[string]string {
	maps.DeleteFunc(m, func(_, v string) bool { return v == "" })
	return m
}
