package main

import (
	"context"
	"strings"
	"sync"
	"time"
)

// statusEvery is how often the service manager's line of status is looked at.
const statusEvery = 10 * time.Second

// tellService tells the service manager that the house is up, how it fares,
// that it lives, and at the end that it stops.
func (h *house) tellService(ctx context.Context) error {
	h.told(h.service.Ready())
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { h.tellStatus(ctx) })
	wg.Go(func() {
		<-ctx.Done()
		h.told(h.service.Stopping())
	})
	return h.service.Run(ctx, h.answers, h.told)
}

// told logs a word that did not reach the service manager: no reason to stop,
// it has the means to end what it does not hear of.
func (h *house) told(err error) {
	if err != nil {
		h.log.Warn("the service manager was not told", "component", "nocturne", "err", err)
	}
}

// answers returns when each part has answered that the others wait for. What it
// answers is not looked at: a part that answers with an error is told of by
// /readyz, and would be no better after a restart.
func (h *house) answers() {
	_, _ = h.ledger.Latest(1, "") // reads the state
	h.history.Stats()
	h.collector.Status()
	h.alerts.Alerts()
	h.jobs.Jobs(1)
}

func (h *house) tellStatus(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	said := ""
	for {
		text := "ready on " + h.address()
		if faults := h.web.NotReady(); len(faults) > 0 {
			text = "not ready: " + strings.Join(faults, "; ")
		}
		if text != said {
			h.told(h.service.Status(text))
			said = text
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
