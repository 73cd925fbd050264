// Package openstack polls OpenStack clouds: servers, hypervisors and Nova's
// services, as facts and as the metrics of openstack-exporter.
//
// The facts are
//
//	cloud/<target>            view (all projects, own project), region, microversion
//	hypervisor/<target>/<hostname>
//	                          host, type, vcpus, memory_mb, state, status...; runs-on host/<host>
//	instance/<server's id>    status, project, flavor, addresses, host_state...; runs-on hypervisor/...
//
// Nova leaves the servers of a dead compute host ACTIVE: host_state of an
// instance is the state of nova-compute on its host, up or down, or unknown
// where the credential may not know.
//
// What a credential may not see is named in Result.Limited, what failed in
// Result.Partial, so that nothing is taken for gone that was only hidden.
package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"

	"nocturne/collector"
	"nocturne/internal/cloudconn"
)

// Source polls clouds. It is safe for concurrent use.
type Source struct {
	pool       *cloudconn.Pool
	credential func(name string) (cloudconn.Credential, error)
}

// New returns a Source that reaches clouds through pool with the credentials
// that a target names. A target's Address, if any, is the AuthURL to use.
func New(pool *cloudconn.Pool, credential func(name string) (cloudconn.Credential, error)) *Source {
	return &Source{pool: pool, credential: credential}
}

// seen is what one poll saw.
type seen struct {
	target       string
	cloud        *cloudconn.Cloud
	microversion string
	servers      []servers.Server
	hypervisors  []hypervisors.Hypervisor
	services     []services.Service
	all          bool // the servers are those of all projects
	// What was not seen.
	noServers, noHypervisors, noServices error
}

// Poll lists servers, hypervisors and services. A cloud that lets nobody in is
// an error; one whose Nova is down is openstack_nova_up 0 and a partial view.
func (s *Source) Poll(ctx context.Context, t collector.Target) (collector.Result, error) {
	credential, err := s.credential(t.Credential)
	if err != nil {
		return collector.Result{}, fmt.Errorf("credential %s: %w", t.Credential, err)
	}
	credential.AuthURL = cmp.Or(t.Address, credential.AuthURL)
	cloud, err := s.pool.Cloud(ctx, credential)
	if err != nil {
		return collector.Result{}, err
	}
	v := seen{target: t.Name, cloud: cloud}
	nova, err := cloud.Compute(ctx)
	if err != nil {
		if errors.Is(err, cloudconn.ErrCredential) {
			return collector.Result{}, err
		}
		return collector.Result{Samples: v.up(false), Partial: []error{err}}, nil
	}
	v.microversion = nova.Microversion
	var wg sync.WaitGroup
	wg.Go(func() { v.servers, v.all, v.noServers = listServers(ctx, nova) })
	wg.Go(func() { v.hypervisors, v.noHypervisors = listHypervisors(ctx, nova) })
	wg.Go(func() { v.services, v.noServices = listServices(ctx, nova) })
	wg.Wait()
	return v.result()
}

// result weighs what was seen against what was not.
func (v *seen) result() (collector.Result, error) {
	var r collector.Result
	answered := false
	for _, err := range []error{v.noServers, v.noHypervisors, v.noServices} {
		if errors.Is(err, cloudconn.ErrCredential) {
			return collector.Result{}, err // refused since it was let in
		}
		switch {
		case err == nil:
			answered = true
		case errors.Is(err, cloudconn.ErrForbidden):
			answered = true
			r.Limited = append(r.Limited, err)
		default:
			r.Partial = append(r.Partial, err)
		}
	}
	r.Samples = v.up(answered)
	if !answered {
		return r, nil
	}
	if v.noServers == nil && !v.all {
		r.Limited = append(r.Limited, errors.New("partial view: the credential sees the servers of its own project only"))
	}
	r.Samples = append(r.Samples, v.samples()...)
	r.Facts = v.facts()
	return r, nil
}

// maxRows bounds one list, whatever a cloud may answer.
const maxRows = 200_000

// listServers lists the servers of all projects, or of its own where the
// credential may not see others.
func listServers(ctx context.Context, nova *gophercloud.ServiceClient) (out []servers.Server, all bool, err error) {
	out, err = serverPages(ctx, nova, servers.ListOpts{AllTenants: true})
	if !gophercloud.ResponseCodeIs(err, 403) {
		return out, err == nil, explain("servers", err)
	}
	out, err = serverPages(ctx, nova, servers.ListOpts{})
	return out, false, explain("servers", err)
}

func serverPages(ctx context.Context, nova *gophercloud.ServiceClient, o servers.ListOpts) ([]servers.Server, error) {
	return collect(ctx, servers.List(nova, o), servers.ExtractServers, func(s servers.Server) string { return s.ID })
}

func listHypervisors(ctx context.Context, nova *gophercloud.ServiceClient) ([]hypervisors.Hypervisor, error) {
	out, err := collect(ctx, hypervisors.List(nova, nil), hypervisors.ExtractHypervisors, func(h hypervisors.Hypervisor) string { return h.ID })
	return out, explain("hypervisors", err)
}

func listServices(ctx context.Context, nova *gophercloud.ServiceClient) ([]services.Service, error) {
	out, err := collect(ctx, services.List(nova, nil), services.ExtractServices, func(s services.Service) string { return s.ID })
	return out, explain("compute services", err)
}

func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	err = cloudconn.Explain("list the "+what, err)
	if errors.Is(err, cloudconn.ErrForbidden) {
		return fmt.Errorf("partial view: %w", err)
	}
	return err
}
