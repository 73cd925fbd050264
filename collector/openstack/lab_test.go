package openstack_test

import (
	"context"
	"testing"
	"time"

	"nocturne/collector"
	"nocturne/collector/openstack"
	"nocturne/internal/cloudconn"
	"nocturne/internal/lab"
	"nocturne/internal/need"
)

// TestLabCloud: the demo's cloud is seen whole.
func TestLabCloud(t *testing.T) {
	seed, _ := need.Seed(t)
	l, err := lab.New(lab.Options{Seed: seed, Racks: 2, Hosts: 6})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	select {
	case <-l.Ready():
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("the lab is not ready in 30 s")
	}
	cloud := l.OpenStack()
	pool := cloudconn.New(cloudconn.Options{})
	t.Cleanup(pool.Close)
	source := openstack.New(pool, func(string) (cloudconn.Credential, error) {
		return cloudconn.Credential{AuthURL: cloud.AuthURL, Username: cloud.Username, Password: cloud.Password, Project: cloud.Project, UserDomain: cloud.Domain}, nil
	})
	res, err := source.Poll(t.Context(), collector.Target{Name: "lab", Credential: "any"})
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, f := range res.Facts {
		n[f.Kind]++
	}
	if len(res.Partial) > 0 || n["instance"] != 21 || n["hypervisor"] != 6 {
		t.Errorf("%v, partial %v", n, res.Partial)
	}
}
