package lab

import (
	"testing"
	"time"

	"nocturne/collector"
	"nocturne/collector/linux"
	"nocturne/internal/need"
	"nocturne/internal/sshconn"
)

// TestHostIsPolled lets the product's own collector read a host: every section
// of its script must come back.
func TestHostIsPolled(t *testing.T) {
	seed, r := need.Seed(t)
	l := start(t, Options{Seed: seed})
	known, err := sshconn.ParseKnownHosts("lab", l.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := sshconn.New(sshconn.Options{HostKeys: known, Credential: func(string) (sshconn.Credential, error) {
		return sshconn.Credential{User: "ops", PrivateKey: l.SSHKey()}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	h := l.Hosts()[r.IntN(24)]
	if err := l.StopService(h.Name, h.Services[0]); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	res, err := linux.New(pool).Poll(t.Context(), collector.Target{Name: h.Name, Address: h.Address, Credential: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range res.Partial {
		t.Error(p)
	}
	failed, loads := 0, 0
	for _, s := range res.Samples {
		switch s.Labels.Get("__name__") {
		case "node_systemd_unit_state":
			if s.Labels.Get("name") == h.Services[0] && s.Labels.Get("state") == "failed" && s.V == 1 {
				failed++
			}
		case "node_load1":
			loads++
		}
	}
	if failed != 1 || loads != 1 {
		t.Errorf("%d samples: %d say that %s failed, %d are node_load1; want one each", len(res.Samples), failed, h.Services[0], loads)
	}
	t.Logf("%d samples, %d facts in %v", len(res.Samples), len(res.Facts), time.Since(begin))
}
