package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/backup"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

func (h *house) openBackup() (err error) {
	keys := sealedKeys(h.access.Vault(), h.ssh)
	h.backup, err = backup.NewScheduler(backup.SchedulerOptions{
		Source: h.cfg.source(h.state, h.ledger), Place: h.cfg.Backup.place(),
		Open:  func(ctx context.Context, at backup.Place) (backup.Store, error) { return keys.open(ctx, at, true) },
		Every: time.Duration(h.cfg.Backup.Every), StateEvery: time.Duration(h.cfg.Backup.StateEvery), Keep: h.cfg.Backup.Keep, Log: h.log,
	})
	if err != nil {
		return fmt.Errorf("wire backup: %w", err)
	}
	return nil
}

// source is what there is to back up.
func (c *Config) source(db *state.DB, chain *ledger.Chain) backup.Source {
	return backup.Source{Data: c.Data, State: db, Ledger: chain, History: c.history().Dir, Configuration: c.backedUp, KeyFile: c.masterKey(), Program: version}
}

// sampleBackup writes the one sample that the rule of a late backup reads.
func (h *house) sampleBackup(ctx context.Context) error {
	if h.cfg.Backup.To == "" {
		return nil
	}
	overdue := labels.FromStrings("__name__", "nocturne_backup_overdue_seconds", "job", "nocturne", "instance", localName)
	tick := time.NewTicker(h.cfg.Collector.Interval)
	defer tick.Stop()
	for {
		now := time.Now()
		s := tsdb.Sample{Labels: overdue, T: now.UnixMilli(), V: now.Sub(h.backup.Status().Late).Seconds()}
		if _, err := h.history.Source("nocturne").Append(ctx, []tsdb.Sample{s}); err != nil && ctx.Err() == nil {
			h.log.Error("write how late the backup is", "component", "backup", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
