package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/automation/badgerq"
	"nocturne/automation/inspection"
	"nocturne/automation/remedy"
	"nocturne/automation/sshexec"
	"nocturne/collector"
	"nocturne/collector/linux"
	"nocturne/collector/openstack"
	"nocturne/collector/self"
	"nocturne/collector/snmp"
	"nocturne/internal/access"
	"nocturne/internal/backup"
	"nocturne/internal/certs"
	"nocturne/internal/cloudconn"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/listen"
	"nocturne/internal/notify"
	"nocturne/internal/snmpconn"
	"nocturne/internal/sshconn"
	"nocturne/internal/state"
	"nocturne/internal/strictyaml"
	"nocturne/internal/upgrade"
	"nocturne/internal/web"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
	"nocturne/tsdb/live"
)

// house is everything that runs, wired. It is opened bottom-up and closed in
// reverse, so that what appends stops before what it appends to.
type house struct {
	cfg     Config // as it was at the start; config() is what holds now
	log     *slog.Logger
	started time.Time
	texts   texts
	closers []func() error

	current atomic.Pointer[Config] // replaced by a reload, as written
	written atomic.Pointer[texts]
	reload  *reloader // nil: there is no file to reload
	hangup  <-chan os.Signal
	keys    *hostKeys
	clock   *clockWatch

	upgrade   *upgrade.Upgrade // of the data folder
	state     *state.DB
	history   *tsdb.DB
	metadata  *tsdb.Metadata // what senders say of their metrics
	live      *live.Window
	forward   *forward.Forwarder
	receivers atomic.Pointer[forward.Forwarder] // the same, for the history while it opens
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
	backup    *backup.Scheduler
	web       *web.Server
	certs     *certs.Source  // nil without TLS
	listener  *listen.Server // of the pages
	redirect  *listen.Server // to the pages, of an ACME authority; nil without
	service   *notify.Socket // the service manager's
	recent    *recent        // of the log
}

// openHouse opens what holds files and wires what runs on it. Nothing runs
// before Run.
func openHouse(cfg Config, log *slog.Logger, lab bool) (_ *house, err error) {
	h := &house{cfg: cfg, started: time.Now(), recent: &recent{}}
	h.log = h.recent.beside(log)
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if h.service, err = notify.New(); err != nil {
		return nil, err
	}
	if h.texts, err = readTexts(cfg); err != nil {
		return nil, err
	}
	h.texts.settle()
	h.current.Store(&h.cfg)
	h.written.Store(&h.texts)
	if err := h.lockData(lab); err != nil {
		return nil, err
	}
	for _, f := range h.texts.faults {
		h.tellFault(f)
	}
	h.clock = h.watchClock()
	for _, step := range []func() error{h.openStores, h.openPeople, h.openForward, h.openConns, h.openCollector, h.openAlerts, h.openJobs, h.importInventory, h.openBackup} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := h.upgrade.Finish(context.Background(), h.state, h.recordUpgrade); err != nil {
		return nil, err
	}
	return h, h.openWeb(lab)
}

// recordUpgrade leaves in the ledger from where a data folder came.
func (h *house) recordUpgrade(d upgrade.Done) error {
	return h.audit("upgrade", "data", map[string]any{"from": d.From, "to": d.To, "program": version, "records": d.Records, "faults": len(d.Faults), "kept": d.Kept})
}

// config is the configuration that holds now.
func (h *house) config() *Config { return h.current.Load() }

// host resolves the name of a host that jobs may run on.
func (h *house) host(name string) (automation.Host, bool) { return h.config().host(name) }

// lockData takes the data folder before anything in it is opened.
func (h *house) lockData(lab bool) error {
	name := "nocturne serve"
	if lab {
		name = "nocturne demo"
	}
	lock, err := lockData(h.cfg.Data, name)
	if err != nil {
		return err
	}
	h.onClose("data folder", lock.Close)
	return nil
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
	if h.upgrade, err = upgrade.Begin(h.cfg.Data, version, h.log); err != nil {
		return err
	}
	if h.state, err = state.Open(state.Options{Dir: filepath.Join(h.cfg.Data, "state"), Log: h.log}); err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	h.onClose("state", h.state.Close)
	if err := h.upgrade.Keep(context.Background(), h.state); err != nil {
		return err
	}
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
	h.access, err = access.Open(access.Options{State: h.state, Ledger: h.ledger, Key: h.cfg.masterKey()})
	if err != nil {
		return fmt.Errorf("open access: %w", err)
	}
	if err := tellKey(h.log, h.access.Vault()); err != nil {
		return err
	}
	return sealCredentials(context.Background(), h.access.Vault(), h.cfg.Credentials)
}

func (h *house) openConns() (err error) {
	h.keys = newHostKeys(h.state, h.texts.known)
	vault := h.access.Vault()
	h.ssh, err = sshconn.New(sshconn.Options{
		Credential: credentialOf[sshconn.Credential](vault, "ssh"), HostKeys: h.keys, Log: h.log,
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
			self.Kind:   self.New(h.writeMetrics, version),
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
	return h.buryTargets(context.Background(), h.cfg.targets())
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
		Hosts: h.host, Regions: h.cfg.regions(), GlobalSlots: h.cfg.Automation.GlobalSlots, Drain: drainJobs, Log: h.log,
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
		Metrics: described(), Exposition: h.writeMetrics, Metadata: h.metadata, Interval: h.intervals, Receivers: h.forward.Status,
		TrustedProxies: h.cfg.TrustedProxies, HSTS: h.cfg.hsts(), MaxBody: int64(h.cfg.HTTP.MaxBody),
		Build: version, Started: h.started, Settings: h.cfg.settings(), Faults: h.texts.faults, StateReadOnly: h.state.ReadOnly,
		Support: h.writeSupport, Backup: h.backup, Lab: lab, Log: h.log,
	})
	if err != nil {
		return fmt.Errorf("wire web: %w", err)
	}
	return h.openListeners()
}
