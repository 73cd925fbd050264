package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/alerting"
	"nocturne/internal/access"
	"nocturne/internal/ledger"
	"nocturne/internal/web"
)

var (
	reloads        = metrics.GetOrCreateCounter(`nocturne_config_reloads_total{result="applied"}`)
	reloadsRefused = metrics.GetOrCreateCounter(`nocturne_config_reloads_total{result="refused"}`)
)

// reloader reads the configuration again and applies it to the house, all or
// nothing. It is safe for concurrent use.
type reloader struct {
	h    *house
	file string
	load func() (Config, error)

	mu sync.Mutex // one reload at a time
}

// next is a configuration that was read and found good, with everything made
// that can fail to be.
type next struct {
	cfg       Config
	texts     texts
	notifiers []alerting.Notifier
	diff      web.Difference
}

// reloadable lets the configuration be read again by load.
func (h *house) reloadable(file string, load func() (Config, error)) {
	h.reload = &reloader{h: h, file: file, load: load}
	h.web.Configuration = h.reload
}

// read reads everything anew. Its error is a *web.RefusedError for what a
// person can mend.
func (r *reloader) read() (n next, err error) {
	if n.cfg, err = r.load(); err != nil {
		return n, &web.RefusedError{Faults: strings.Split(err.Error(), "\n")}
	}
	if n.texts, err = readTexts(n.cfg); err != nil {
		return n, &web.RefusedError{Faults: strings.Split(err.Error(), "\n")}
	}
	n.texts.settle()
	if len(n.texts.faults) > 0 {
		return n, &web.RefusedError{Faults: n.texts.faults}
	}
	if n.notifiers, err = n.cfg.notifiers(); err != nil {
		return n, &web.RefusedError{Faults: []string{err.Error()}}
	}
	if err := r.h.collector.Check(n.cfg.targets()); err != nil {
		return n, &web.RefusedError{Faults: strings.Split(err.Error(), "\n")}
	}
	keys, err := r.keyFileDifferences(n.cfg)
	if err != nil {
		return n, &web.RefusedError{Faults: []string{err.Error()}}
	}
	n.diff.File = r.file
	n.diff.Changes = append(differences(*r.h.config(), n.cfg), fileDifferences(r.h.written.Load().files, n.texts.files)...)
	n.diff.Changes = append(n.diff.Changes, keys...)
	if was := r.h.keys.file.Load(); was.sum != n.texts.known.sum && r.h.config().SSH.KnownHosts == n.cfg.SSH.KnownHosts {
		n.diff.Changes = append(n.diff.Changes, web.Change{Field: "ssh.known_hosts " + n.cfg.SSH.KnownHosts, Was: "as it was read", Is: "changed"})
	}
	return n, nil
}

// keyFileDifferences lists the credentials that stay in the file and whose
// content is another than what is sealed: a key file was replaced.
func (r *reloader) keyFileDifferences(cfg Config) (out []web.Change, err error) {
	running := r.h.config().Credentials
	for i, e := range cfg.Credentials {
		kind, value, err := e.credential()
		if err != nil {
			return nil, fmt.Errorf("credentials[%d] (%s): %w", i, e.Name, err)
		}
		same, err := isSealed(r.h.access.Vault(), e.Name, kind, value)
		if err != nil {
			return nil, fmt.Errorf("credential %s: %w", e.Name, err)
		}
		stays := slices.ContainsFunc(running, func(was CredentialEntry) bool { return was.Name == e.Name && len(differencesOf(was, e)) == 0 })
		if !same && stays {
			out = append(out, web.Change{Field: "credentials[" + e.Name + "]", Was: "as it is sealed", Is: "another content"})
		}
	}
	return out, nil
}

// Difference implements web.Configuration.
func (r *reloader) Difference() (web.Difference, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.read()
	n.diff.File = r.file
	return n.diff, err
}

// Reload implements web.Configuration.
func (r *reloader) Reload(ctx context.Context, by string) (web.Difference, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.read()
	if err == nil {
		err = needsRestart(n.diff.Changes)
	}
	if err == nil && len(n.diff.Changes) > 0 {
		err = r.apply(ctx, n, by)
	}
	if err != nil {
		reloadsRefused.Inc()
		r.h.log.Error("the configuration was not reloaded; nothing has changed", "component", "nocturne", "by", by, "err", err)
		return web.Difference{File: r.file}, err
	}
	reloads.Inc()
	for _, c := range n.diff.Changes {
		r.h.log.Warn("configuration changed", "component", "nocturne", "by", by, "field", c.Field, "was", c.Was, "is", c.Is)
	}
	r.h.log.Warn("configuration reloaded", "component", "nocturne", "by", by, "changes", len(n.diff.Changes))
	return n.diff, nil
}

// needsRestart refuses what cannot be applied while the program runs.
func needsRestart(changes []web.Change) error {
	var faults []string
	for _, c := range changes {
		if c.Restart {
			faults = append(faults, c.Field+" is changed and needs a restart")
		}
	}
	if faults != nil {
		return &web.RefusedError{Faults: faults}
	}
	return nil
}

// apply brings a configuration that is good into effect. What can fail comes
// first and is undone; the rest cannot.
func (r *reloader) apply(ctx context.Context, n next, by string) error {
	h := r.h
	undo, err := reseal(ctx, h.access.Vault(), n.cfg.Credentials)
	if err != nil {
		return err
	}
	if err := r.record(n.diff, by); err != nil {
		return errors.Join(err, undo())
	}
	if err := h.alerts.Replace(n.texts.rules, n.notifiers, n.cfg.Alerting.Interval); err != nil {
		return errors.Join(fmt.Errorf("alerting: %w", err), undo())
	}
	// Both lists were held to what these refuse when they were read.
	err = errors.Join(h.jobs.Replace(n.texts.runbooks), h.jobs.Resize(n.cfg.regions(), n.cfg.Automation.GlobalSlots),
		h.history.SetLimits(n.cfg.History.Limits.limits()), h.remedies.Replace(n.texts.remedies), h.inspector.Replace(n.texts.inspections))
	h.keys.file.Store(n.texts.known)
	h.current.Store(&n.cfg)
	h.written.Store(&n.texts)
	logLevel.Set(n.cfg.Log.level())
	h.web.Replace(web.Replaceable{Remedies: n.texts.remedies, Settings: n.cfg.settings(), Faults: n.texts.faults})
	targets := n.cfg.targets()
	return errors.Join(err, h.collector.Set(targets), h.buryTargets(ctx, targets))
}

// record leaves in the ledger who reloaded and what that changed.
func (r *reloader) record(d web.Difference, by string) error {
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	_, err = r.h.ledger.Append(ledger.Entry{Kind: ledger.Audit, Actor: by, Action: "configuration.reload", Subject: "configuration", Data: data})
	return err
}

// reseal seals the credentials that changed. undo puts back what was sealed
// before; so does an error.
func reseal(ctx context.Context, vault *access.Vault, entries []CredentialEntry) (undo func() error, err error) {
	type sealed struct {
		name, kind string
		value      map[string]any
	}
	var before []sealed
	undo = func() error {
		var errs []error
		for _, s := range slices.Backward(before) {
			if s.kind == "" {
				errs = append(errs, vault.Delete(context.WithoutCancel(ctx), access.System, s.name))
			} else {
				errs = append(errs, vault.Put(context.WithoutCancel(ctx), access.System, s.name, s.kind, s.value))
			}
		}
		return errors.Join(errs...)
	}
	for i, e := range entries {
		kind, value, err := e.credential()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("credentials[%d] (%s): %w", i, e.Name, err), undo())
		}
		same, err := isSealed(vault, e.Name, kind, value)
		if err != nil {
			return nil, errors.Join(err, undo())
		}
		if same {
			continue
		}
		was := sealed{name: e.Name}
		if was.kind, err = vault.Open(e.Name, &was.value); err != nil && !errors.Is(err, access.ErrNotFound) {
			return nil, errors.Join(err, undo())
		}
		if err := vault.Put(ctx, access.System, e.Name, kind, value); err != nil {
			return nil, errors.Join(fmt.Errorf("seal credential %s: %w", e.Name, err), undo())
		}
		before = append(before, was)
	}
	return undo, nil
}

// onHangup reloads at each SIGHUP, as systemctl reload sends it, until ctx ends.
func (h *house) onHangup(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.hangup:
			if h.reload == nil {
				h.log.Warn("there is no configuration file to reload", "component", "nocturne")
				continue
			}
			h.told(h.service.Reloading())
			// The log has what was refused and why.
			_, _ = h.reload.Reload(ctx, "system")
			h.told(h.service.Ready())
		}
	}
}

// hangups takes SIGHUP from now on: before, it would end the program.
func hangups() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
