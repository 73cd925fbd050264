package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"nocturne/internal/lab"
	"nocturne/internal/secret"
)

func demoCommand() *cobra.Command {
	var o lab.Options
	var data, listen string
	var still bool
	c := &cobra.Command{
		Use: "demo", Short: "Run on a simulated hall whose faults repair themselves", Args: cobra.NoArgs,
		Long: "A hall of racks, switches, SSH hosts and a cloud is simulated in this process on loopback, wired at random from a printed seed. " +
			"Faults happen by a timeline; alerts, remedies and proofs are the product's own.",
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Seed == 0 {
				o.Seed = rand.Uint64N(1_000_000) + 1
			}
			return demo(c.Context(), o, data, listen, !still, c.OutOrStdout())
		},
	}
	c.Flags().Uint64Var(&o.Seed, "seed", 0, "seed that the hall is wired from (default: at random)")
	c.Flags().IntVar(&o.Racks, "racks", 8, "racks, each with two leaf switches and two PDUs")
	c.Flags().IntVar(&o.Spines, "spines", 4, "spine switches")
	c.Flags().IntVar(&o.Hosts, "hosts", 24, "SSH hosts")
	c.Flags().StringVar(&data, "data", "", "folder for the data (default: a temporary one, removed at the end)")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "loopback address:port of the pages")
	c.Flags().BoolVar(&still, "still", false, "no timeline of faults")
	return c
}

func demo(ctx context.Context, o lab.Options, data, listen string, faulty bool, out io.Writer) (err error) {
	smallHeap()
	hall, err := lab.New(o)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nocturne-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if data == "" {
		data = filepath.Join(dir, "data")
	}
	cfg, err := demoConfig(hall, dir, data, listen)
	if err != nil {
		return err
	}
	log := logger(cfg.Log)
	limitMemory(log)
	h, err := openHouse(cfg, log, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	fmt.Fprintf(out, "A simulated hall from seed %d: %d racks, %d SNMP agents, %d SSH hosts, one cloud.\n", o.Seed, len(hall.Racks()), len(hall.Agents()), len(hall.Hosts()))
	if err := h.announce(out); err != nil {
		return err
	}
	if faulty {
		tellTimeline(out, h.address(), hall)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return hall.Run(ctx) })
	g.Go(func() error { return h.Run(ctx) })
	if faulty {
		g.Go(func() error {
			return hall.Play(ctx, func(f lab.Fault) { fmt.Fprintf(out, "%s  %s\n", time.Now().Format(time.TimeOnly), f.What) })
		})
	}
	return g.Wait()
}

func tellTimeline(out io.Writer, address string, hall *lab.Lab) {
	fmt.Fprintf(out, "Look at %s/racks, %s/topology, %s/alerts and %s/jobs. What will happen:\n", address, address, address, address)
	for _, f := range hall.Timeline(0) {
		fmt.Fprintf(out, "  +%3.0f s  %s\n", f.After.Seconds(), f.What)
	}
	fmt.Fprintf(out, "and so on with other victims, every %.0f minutes.\n", lab.Cycle.Minutes())
}

// demoConfig is a configuration as a person would have written it for the
// hall, with short intervals. dir takes the files that it names.
func demoConfig(hall *lab.Lab, dir, data, listen string) (Config, error) {
	c := DefaultConfig()
	c.Data, c.Listen = data, listen
	c.Log.Level = "warn"
	c.Collector.Interval, c.Collector.Timeout = 5*time.Second, 4*time.Second
	c.Alerting.Interval = 2 * time.Second
	c.SSH.KnownHosts = filepath.Join(dir, "known_hosts")
	inventoryFile, remedies := filepath.Join(dir, "hall.yaml"), filepath.Join(dir, "remedies.yaml")
	c.Inventory, c.Automation.Remedies = []string{inventoryFile}, []string{remedies}
	builtIn, err := defaultFile("remedies.yaml")
	if err != nil {
		return c, err
	}
	for name, data := range map[string][]byte{c.SSH.KnownHosts: hall.KnownHosts(), inventoryFile: hall.Inventory(), remedies: builtIn.data} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return c, fmt.Errorf("write the demo's files: %w", err)
		}
	}
	c.Credentials = []CredentialEntry{{Name: "lab-hosts", SSH: &SSHCredential{User: "ops", Key: hall.SSHKey()}}}
	for _, a := range hall.Agents() {
		c.Credentials = append(c.Credentials, CredentialEntry{Name: "agent-" + a.Name, SNMP: &SNMPCredential{Version: "2c", Community: secret.Text(a.Community)}})
		c.Targets.SNMP = append(c.Targets.SNMP, TargetConfig{Name: a.Name, Address: a.Address, Site: "lab", Credential: "agent-" + a.Name})
	}
	for _, h := range hall.Hosts() {
		c.Targets.Linux = append(c.Targets.Linux, TargetConfig{Name: h.Name, Address: h.Address, Site: "lab", Credential: "lab-hosts"})
	}
	for _, r := range hall.Regions() {
		p, err := netip.ParsePrefix(r.Prefix)
		if err != nil {
			return c, fmt.Errorf("region %s: %w", r.Name, err)
		}
		c.Automation.Regions = append(c.Automation.Regions, RegionConfig{Name: r.Name, Prefixes: []netip.Prefix{p}, Slots: 8})
	}
	cloud := hall.OpenStack()
	c.Credentials = append(c.Credentials, CredentialEntry{Name: "lab-cloud", OpenStack: &OpenStackCredential{
		AuthURL: cloud.AuthURL, Username: cloud.Username, Password: cloud.Password, Project: cloud.Project, UserDomain: cloud.Domain, ProjectDomain: cloud.Domain,
	}})
	c.Targets.OpenStack = []TargetConfig{{Name: lab.CloudName, Site: "lab", Credential: "lab-cloud", Interval: 15 * time.Second}}
	return c, c.validate("the demo's configuration")
}
