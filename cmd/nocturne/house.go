package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/automation/badgerq"
	"nocturne/automation/inspection"
	"nocturne/automation/remedy"
	"nocturne/automation/sshexec"
	"nocturne/collector"
	"nocturne/collector/linux"
	"nocturne/collector/openstack"
	"nocturne/collector/snmp"
	"nocturne/internal/access"
	"nocturne/internal/cloudconn"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/snmpconn"
	"nocturne/internal/sshconn"
	"nocturne/internal/state"
	"nocturne/internal/strictyaml"
	"nocturne/internal/web"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
	"nocturne/tsdb/live"
)

// house is everything that runs, wired. It is opened bottom-up and closed in
// reverse, so that what appends stops before what it appends to.
type house struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	texts   texts
	closers []func() error

	state     *state.DB
	history   *tsdb.DB
	metadata  *tsdb.Metadata // what senders say of their metrics
	live      *live.Window
	forward   *forward.Forwarder
	ledger    *ledger.Chain
	access    *access.Access
	graph     *inventory.Graph
	ssh       *sshconn.Pool
	snmp      *snmpconn.Pool
	cloud     *cloudconn.Pool
	collector *collector.Scheduler
	alerts    *alerting.Engine
	jobs      *automation.Executor
	remedies  *remedy.Remedies
	inspector *inspection.Inspector
	web       *web.Server
	listener  net.Listener
}

// openHouse opens what holds files and wires what runs on it. Nothing runs
// before Run.
func openHouse(cfg Config, log *slog.Logger, lab bool) (_ *house, err error) {
	h := &house{cfg: cfg, log: log, started: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if h.texts, err = readTexts(cfg); err != nil {
		return nil, err
	}
	h.texts.settle()
	for _, f := range h.texts.faults {
		h.tellFault(f)
	}
	for _, step := range []func() error{h.openStores, h.openPeople, h.openForward, h.openConns, h.openCollector, h.openAlerts, h.openJobs, h.importInventory} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return h, h.openWeb(lab)
}

func (h *house) onClose(what string, f func() error) {
	h.closers = append(h.closers, func() error {
		if err := f(); err != nil {
			return fmt.Errorf("close %s: %w", what, err)
		}
		return nil
	})
}

// Close closes what was opened, the last first.
func (h *house) Close() error {
	var errs []error
	for len(h.closers) > 0 {
		last := len(h.closers) - 1
		errs = append(errs, h.closers[last]())
		h.closers = h.closers[:last]
	}
	return errors.Join(errs...)
}

func (h *house) openStores() (err error) {
	if err := os.MkdirAll(h.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if h.state, err = state.Open(state.Options{Dir: filepath.Join(h.cfg.Data, "state"), Log: h.log}); err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	h.onClose("state", h.state.Close)
	if h.ledger, err = ledger.Open(h.state); err != nil {
		return fmt.Errorf("open ledger: %w", err)
	}
	o := h.cfg.history()
	o.Log, o.Compacting = h.log, leanHeap
	h.cfg.History.Remote.apply(&o, func() *access.Vault { return h.access.Vault() }, h.forwardLag)
	if h.history, err = tsdb.Open(o); err != nil {
		return fmt.Errorf("open history: %w", err)
	}
	h.onClose("history", h.history.Close)
	h.metadata = new(tsdb.Metadata)
	if h.live, err = live.New(h.cfg.Live.options()); err != nil {
		return fmt.Errorf("open live window: %w", err)
	}
	if h.graph, err = inventory.Open(h.state); err != nil {
		return fmt.Errorf("open inventory: %w", err)
	}
	return nil
}

func (h *house) openPeople() (err error) {
	h.access, err = access.Open(access.Options{State: h.state, Ledger: h.ledger, KeyFile: h.cfg.masterKey()})
	if err != nil {
		return fmt.Errorf("open access: %w", err)
	}
	return sealCredentials(context.Background(), h.access.Vault(), h.cfg.Credentials)
}

func (h *house) openConns() (err error) {
	keys := &hostKeys{file: h.texts.known, partly: h.texts.knownPartly, table: state.NewTable[string](h.state, "hostkey", 1)}
	vault := h.access.Vault()
	h.ssh, err = sshconn.New(sshconn.Options{
		Credential: credentialOf[sshconn.Credential](vault, "ssh"), HostKeys: keys, Log: h.log,
		TrustFirst: h.cfg.SSH.TrustFirstUse, Pinned: h.recordPinned,
	})
	if err != nil {
		return fmt.Errorf("wire ssh: %w", err)
	}
	h.onClose("ssh connections", h.ssh.Close)
	h.snmp = snmpconn.New(snmpconn.Options{})
	h.cloud = cloudconn.New(cloudconn.Options{})
	return nil
}

// recordPinned leaves in the ledger whom an unknown key was believed of.
func (h *house) recordPinned(host sshconn.Host, fingerprint string) {
	h.log.Warn("host key pinned at first contact", "component", "sshconn", "host", host.Name, "fingerprint", fingerprint)
	if err := h.audit("hostkey.pin", "host/"+host.Name, map[string]string{"address": host.Address, "fingerprint": fingerprint}); err != nil {
		h.log.Error("record pinned host key", "component", "sshconn", "host", host.Name, "err", err)
	}
}

func (h *house) openCollector() (err error) {
	region, err := automation.RegionOf(h.cfg.regions())
	if err != nil {
		return fmt.Errorf("automation.regions: %w", err)
	}
	h.collector, err = collector.New(collector.Options{
		Sources: map[string]collector.Source{
			"local":     linux.NewLocal(),
			"linux":     linux.New(h.ssh).Regions(region),
			"snmp":      snmp.New(h.snmp, credentialOf[snmpconn.Credential](h.access.Vault(), "snmp")),
			"openstack": openstack.New(h.cloud, credentialOf[cloudconn.Credential](h.access.Vault(), "openstack")),
		},
		Append: h.appendSamples, Observe: h.observeFacts, Live: h.appendLive,
		MaxConcurrent: h.cfg.Collector.Concurrency, Log: h.log,
	})
	if err != nil {
		return fmt.Errorf("wire collector: %w", err)
	}
	if err := h.collector.Set(h.cfg.targets()); err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	return nil
}

func (h *house) openAlerts() (err error) {
	notifiers, err := h.cfg.notifiers()
	if err != nil {
		return err
	}
	h.alerts, err = alerting.New(alerting.Options{
		DB: h.history, State: h.state, Ledger: h.ledger, Graph: h.graph, RuleFiles: h.texts.rules,
		Notifiers: notifiers, Interval: h.cfg.Alerting.Interval, PollInterval: h.cfg.Collector.Interval, ExternalURL: h.cfg.externalURL(), Log: h.log,
	})
	if err != nil {
		return fmt.Errorf("wire alerting: %w", err)
	}
	return nil
}

func (h *house) openJobs() (err error) {
	queue, err := badgerq.New(h.state)
	if err != nil {
		return fmt.Errorf("open job queue: %w", err)
	}
	h.jobs, err = automation.New(automation.Options{
		State: h.state, Ledger: h.ledger, Runner: sshexec.New(h.ssh), Queue: queue, Runbooks: h.texts.runbooks,
		Hosts: h.cfg.host, Regions: h.cfg.regions(), GlobalSlots: h.cfg.Automation.GlobalSlots, Log: h.log,
	})
	if err != nil {
		return fmt.Errorf("wire automation: %w", err)
	}
	h.remedies, err = remedy.New(remedy.Options{
		Alerts: h.alerts, Jobs: h.jobs, State: h.state, Ledger: h.ledger, Remedies: h.texts.remedies,
		Poll: h.collector.PollNow, HostOf: h.cfg.hostOf, Log: h.log,
	})
	if err != nil {
		return fmt.Errorf("wire remedies: %w", err)
	}
	h.inspector, err = inspection.New(inspection.Options{DB: h.history, Ledger: h.ledger, State: h.state, Inspections: h.texts.inspections,
		Lookback: max(time.Minute, 3*h.cfg.Collector.Interval), Log: h.log})
	if err != nil {
		return fmt.Errorf("wire inspections: %w", err)
	}
	return nil
}

// importInventory leaves a faulty file out: of what it names nothing changes.
func (h *house) importInventory() error {
	for _, f := range h.texts.inventory {
		_, err := h.graph.ImportYAML(context.Background(), f.name, f.data, "system")
		if _, faulty := errors.AsType[*strictyaml.Fault](err); faulty {
			h.texts.faults = append(h.texts.faults, err.Error())
			h.tellFault(err.Error())
		} else if err != nil {
			return fmt.Errorf("import inventory: %w", err)
		}
	}
	return nil
}

func (h *house) tellFault(fault string) {
	h.log.Error("a file, or a part of one, was left out", "component", "nocturne", "err", fault)
}

func (h *house) openWeb(lab bool) (err error) {
	write, err := h.remoteWrite()
	if err != nil {
		return err
	}
	h.web, err = web.New(web.Options{
		History: h.history, Live: h.live, Ledger: h.ledger, Access: h.access, Graph: h.graph, Collector: h.collector,
		Alerts: h.alerts, Jobs: h.jobs, Remedies: h.texts.remedies, Inspections: h.inspector, Write: write,
		Metrics: described(), Metadata: h.metadata, Interval: h.intervals, Receivers: h.forward.Status,
		Build: version, Started: h.started, Settings: h.cfg.settings(), Faults: h.texts.faults, Lab: lab, Log: h.log,
	})
	if err != nil {
		return fmt.Errorf("wire web: %w", err)
	}
	// Listening is part of opening: a port in use is told before anything runs.
	if h.listener, err = net.Listen("tcp", h.cfg.Listen); err != nil {
		return fmt.Errorf("listen on %s: %w", h.cfg.Listen, err)
	}
	h.onClose("listener", func() error {
		if err := h.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// address is where the pages are.
func (h *house) address() string { return "http://" + h.listener.Addr().String() }

// Run runs everything until ctx ends or a part fails.
func (h *house) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	part := func(name string, run func(context.Context) error) {
		g.Go(func() error {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part("state", h.state.Run)
	part("history", h.history.Run)
	part("live window", h.live.Run)
	part("forward", h.forward.Run)
	part("inventory", h.graph.Run)
	part("ssh connections", h.ssh.Run)
	part("collector", h.collector.Run)
	part("bursts", h.runBursts)
	part("alerting", h.alerts.Run)
	part("automation", h.jobs.Run)
	part("remedies", h.remedies.Run)
	part("inspections", h.inspector.Run)
	part("web", h.web.Run)
	part("http", h.serveHTTP)
	return g.Wait()
}

func (h *house) serveHTTP(ctx context.Context) error {
	srv := &http.Server{
		Handler: h.web.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	down := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(down)
		// Streams end with ctx; five seconds are for answers under way.
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(late); err != nil {
			_ = srv.Close()
		}
	})
	if err := srv.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	// Serve returns when the shutdown begins; the stores may close after it.
	<-down
	return nil
}
