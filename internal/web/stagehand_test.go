package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/automation"
	"nocturne/collector"
)

// stagehand answers polls and runs commands as the test wants it: a host's
// unit fails until a command mends it.
type stagehand struct {
	mu     sync.Mutex // guards below
	failed map[string]string
	deaf   map[string]bool
}

func (h *stagehand) mend(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failed, host)
}

func (h *stagehand) Poll(_ context.Context, t collector.Target) (collector.Result, error) {
	h.mu.Lock()
	deaf, unit := h.deaf[t.Name], h.failed[t.Name]
	h.mu.Unlock()
	if deaf {
		return collector.Result{}, fmt.Errorf("poll %s: no answer from %s", t.Name, nastyQuotes)
	}
	p := poll{now: time.Now().UnixMilli(), job: collector.Job(t.Kind), instance: t.Name}
	switch t.Kind {
	case "linux":
		p.host(unit)
	case "snmp":
		p.device()
	case "openstack":
		p.cloud()
	}
	return p.res, nil
}

// poll gathers what one poll brings.
type poll struct {
	now           int64
	job, instance string
	res           collector.Result
}

func (p *poll) add(name string, v float64, kv ...string) {
	b := labels.NewBuilder(labels.FromStrings(kv...))
	b.Set("__name__", name).Set("job", p.job).Set("instance", p.instance)
	p.res.Samples = append(p.res.Samples, collector.Sample{Labels: b.Labels(), T: p.now, V: v})
}

func (p *poll) bound(kv ...string) map[string]string {
	out := map[string]string{"job": p.job, "instance": p.instance}
	for i := 0; i < len(kv); i += 2 {
		out[kv[i]] = kv[i+1]
	}
	return out
}

func (p *poll) host(failed string) {
	for _, unit := range []string{"shop.service", "odd.service", nastyMarkup + ".service", nastyQuotes} {
		for _, st := range []string{"active", "failed"} {
			v := 0.0
			if (st == "failed") == (unit == failed) {
				v = 1
			}
			p.add("node_systemd_unit_state", v, "name", unit, "state", st)
		}
	}
	p.add("node_load1", 0.5)
	p.add("node_memory_MemTotal_bytes", 100)
	p.add("node_memory_MemAvailable_bytes", 75)
	p.add("node_filesystem_size_bytes", 1000, "mountpoint", "/"+nastyMarkup, "device", nastyQuotes, "fstype", "ext4")
	p.add("node_filesystem_avail_bytes", 250, "mountpoint", "/"+nastyMarkup, "device", nastyQuotes, "fstype", "ext4")
	p.add("node_filesystem_size_bytes", 1000, "mountpoint", "/unseen", "device", "sdb", "fstype", "ext4")
	p.res.Facts = []collector.Fact{{Kind: "host", Key: p.instance, Name: p.instance, Binding: p.bound(), Fields: map[string]string{"os": nastyMarkup}}}
}

func (p *poll) device() {
	p.res.Facts = []collector.Fact{{Kind: "device", Key: p.instance, Name: p.instance, Binding: p.bound(), Fields: map[string]string{"sysDescr": nastyQuotes, "chassisID": p.instance}}}
	other := map[string]string{"leaf1": "spine1", "spine1": "leaf1"}[p.instance]
	for n, name := range []string{"Ethernet1", "Ethernet1/2", nastySlash, nastyMarkup} {
		p.add("ifHCInOctets", float64(p.now), "ifName", name)
		p.add("ifHCOutOctets", float64(p.now)/2, "ifName", name)
		p.add("ifInErrors", 0, "ifName", name)
		p.add("ifOutErrors", 0, "ifName", name)
		p.add("ifOperStatus", float64(1+n%2), "ifName", name)
		p.add("ifAdminStatus", 1, "ifName", name)
		f := collector.Fact{
			Kind: "interface", Key: p.instance + "/" + name, Name: name, Binding: p.bound("ifName", name),
			Relations: []collector.Relation{{Type: "part-of", Kind: "device", Key: p.instance}},
			Fields:    map[string]string{"ifAlias": nastyScript, "speed": "10000000000"},
		}
		if n == 0 && other != "" {
			f.Neighbour = &collector.Neighbour{ChassisID: other, ChassisIDSubtype: "local", PortID: name, PortIDSubtype: "interfaceName", SysName: other}
		}
		p.res.Facts = append(p.res.Facts, f)
	}
}

func (p *poll) cloud() {
	p.add("openstack_nova_server_status", 0, "id", "1", "name", nastyMarkup)
	p.res.Facts = []collector.Fact{
		{Kind: "cloud", Key: p.instance, Name: p.instance, Binding: p.bound()},
		{Kind: "hypervisor", Key: "hv1", Name: "hv1"},
		{Kind: "instance", Key: "1", Name: nastyMarkup, Binding: p.bound("id", "1"), Relations: []collector.Relation{{Type: "runs-on", Kind: "hypervisor", Key: "hv1"}}},
	}
}

// Run does what the host's name says.
func (h *stagehand) Run(ctx context.Context, host automation.Host, _, cmd string, o automation.RunOptions) (int, error) {
	if err := o.BeforeSend(ctx); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(o.Output, cmd+"\n"+nastyMarkup+nastyQuotes+"\n"); err != nil {
		return 0, err
	}
	switch host.Name {
	case "web-fixed":
		h.mend(host.Name)
	case "web-stuck":
		<-ctx.Done()
		return 0, ctx.Err()
	case "web-lost":
		return 0, errors.New("the connection was lost " + nastyMarkup)
	}
	return 0, nil
}
