package main

import (
	"context"
	"fmt"
	"time"

	"nocturne/internal/backup"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
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
	return backup.Source{Data: c.Data, State: db, Ledger: chain, History: c.history().Dir, Configuration: c.backedUp, KeyFile: c.masterKey().File, Program: version}
}
