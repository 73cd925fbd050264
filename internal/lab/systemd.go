package lab

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// systemd keeps the state of a host's units; systemctl reads and changes it.
type systemd struct {
	mu    sync.Mutex
	units map[string]*unitState // mu guards it
}

type unitState struct {
	active  string        // active, activating, deactivating, inactive, failed
	startup time.Duration // how long a start takes
}

var sub = map[string]string{"active": "running", "activating": "start", "deactivating": "stop-sigterm", "inactive": "dead", "failed": "failed"}

func newSystemd(r *rand.Rand, services []string) *systemd {
	s := &systemd{units: map[string]*unitState{}}
	for _, name := range append([]string{"ssh.service", "cron.service", "chrony.service", "rsyslog.service", "systemd-journald.service"}, services...) {
		s.units[name] = &unitState{active: "active", startup: time.Duration(100+r.IntN(500)) * time.Millisecond}
	}
	return s
}

func unitName(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return name + ".service"
}

func (s *systemd) state(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.units[unitName(name)]
	if !ok {
		return "", false
	}
	return u.active, true
}

func (s *systemd) set(name, active string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.units[unitName(name)]
	if ok {
		u.active = active
	}
	return ok
}

func (s *systemd) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name := range s.units {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// RemedyMode says what a start or restart of a unit does.
type RemedyMode int

const (
	RemedyWorks RemedyMode = iota
	RemedyFails            // prints an error and exits 1
	RemedyLies             // exits 0 and changes nothing
)

// BreakRemedy sets what systemctl start and restart do from now on, on every host.
func (l *Lab) BreakRemedy(m RemedyMode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remedy = m
}

// systemctl answers the calls that a collector, a runbook and a curious
// person make; see systemctl(1).
func (h *host) systemctl(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var verb string
	var names []string
	property, valueOnly := "", false
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "-p" && i+1 < len(args):
			i++
			property = args[i]
		case strings.HasPrefix(a, "--property="):
			property = strings.TrimPrefix(a, "--property=")
		case a == "--value":
			valueOnly = true
		case strings.HasPrefix(a, "-"):
		case verb == "":
			verb = a
		default:
			names = append(names, a)
		}
	}
	switch verb {
	case "list-units", "":
		h.listUnits(stdout)
		return 0
	case "is-active", "status", "show", "start", "stop", "restart", "reset-failed":
	default:
		fmt.Fprintf(stderr, "Unknown command verb %s.\n", verb)
		return 1
	}
	for _, name := range names {
		if exit := h.unitVerb(ctx, verb, name, property, valueOnly, stdout, stderr); exit != 0 {
			return exit
		}
	}
	return 0
}

func (h *host) listUnits(stdout io.Writer) {
	for _, name := range h.systemd.names() {
		active, _ := h.systemd.state(name)
		fmt.Fprintf(stdout, "%s loaded %s %s Lab unit %s\n", name, active, sub[active], name)
	}
}

func (h *host) unitVerb(ctx context.Context, verb, name, property string, valueOnly bool, stdout, stderr io.Writer) int {
	active, ok := h.systemd.state(name)
	if !ok {
		if verb == "is-active" {
			fmt.Fprintln(stdout, "inactive")
			return 4
		}
		fmt.Fprintf(stderr, "Failed to %s %s: Unit %s not found.\n", verb, unitName(name), unitName(name))
		return 5
	}
	switch verb {
	case "is-active":
		fmt.Fprintln(stdout, active)
		if active != "active" {
			return 3
		}
	case "status":
		fmt.Fprintf(stdout, "%s - Lab unit\n     Loaded: loaded\n     Active: %s (%s)\n", unitName(name), active, sub[active])
		if active != "active" {
			return 3
		}
	case "show":
		h.showUnit(name, active, property, valueOnly, stdout)
	case "stop":
		h.systemd.set(name, "inactive")
	case "reset-failed":
		if active == "failed" {
			h.systemd.set(name, "inactive")
		}
	default:
		return h.startUnit(ctx, name, stderr)
	}
	return 0
}

func (h *host) showUnit(name, active, property string, valueOnly bool, stdout io.Writer) {
	for _, kv := range [][2]string{{"Id", unitName(name)}, {"LoadState", "loaded"}, {"ActiveState", active}, {"SubState", sub[active]}} {
		switch {
		case property != "" && !slices.Contains(strings.Split(property, ","), kv[0]):
		case valueOnly:
			fmt.Fprintln(stdout, kv[1])
		default:
			fmt.Fprintf(stdout, "%s=%s\n", kv[0], kv[1])
		}
	}
}

func (h *host) startUnit(ctx context.Context, name string, stderr io.Writer) int {
	h.lab.mu.Lock()
	mode := h.lab.remedy
	h.lab.mu.Unlock()
	h.systemd.mu.Lock()
	startup := h.systemd.units[unitName(name)].startup
	h.systemd.mu.Unlock()
	before, _ := h.systemd.state(name)
	if mode != RemedyLies {
		h.systemd.set(name, "activating")
	}
	select {
	case <-time.After(startup):
	case <-ctx.Done():
		return 1
	}
	switch mode {
	case RemedyFails:
		h.systemd.set(name, "failed")
		fmt.Fprintf(stderr, "Job for %s failed because the control process exited with error code.\n", unitName(name))
		return 1
	case RemedyLies:
		h.systemd.set(name, before)
	default:
		h.systemd.set(name, "active")
	}
	return 0
}

// StopService makes a unit of a host fail, as a crash would.
func (l *Lab) StopService(hostName, unit string) error {
	h, err := l.host(hostName)
	if err != nil {
		return err
	}
	if !h.systemd.set(unit, "failed") {
		return fmt.Errorf("host %s has no unit %q", hostName, unit)
	}
	return nil
}

// ServiceState is the unit's true state.
func (l *Lab) ServiceState(hostName, unit string) (string, error) {
	h, err := l.host(hostName)
	if err != nil {
		return "", err
	}
	state, ok := h.systemd.state(unit)
	if !ok {
		return "", fmt.Errorf("host %s has no unit %q", hostName, unit)
	}
	return state, nil
}
