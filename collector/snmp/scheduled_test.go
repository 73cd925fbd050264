package snmp

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nocturne/collector"
	"nocturne/internal/need"
	"nocturne/internal/snmpconn"
)

// Good and bad targets side by side: each bad one is named, the rest goes on.
func TestScheduledPolls(t *testing.T) {
	addr := snmpd(t)
	var mu sync.Mutex
	up := map[string]float64{}
	s, err := collector.New(collector.Options{
		Sources: map[string]collector.Source{"snmp": newSource()},
		Append: func(_ context.Context, in []collector.Sample) error {
			mu.Lock()
			defer mu.Unlock()
			for _, smp := range in {
				if smp.Labels.Get("__name__") == "up" && smp.Labels.Get("job") == "snmp" {
					up[smp.Labels.Get("instance")] = smp.V
				}
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	cases := []struct{ name, addr, cred, says string }{
		{"leaf-v2c", addr, "v2c", ""},
		{"leaf-v3", addr, "v3", ""},
		{"leaf-community", addr, "wrong", "wrong community"},
		{"leaf-key", addr, "wrongkey", "wrong authentication passphrase"},
		{"leaf-gone", "127.0.0.1:9", "v2c", "no agent listens"},
		{"leaf-vault", addr, "none", `credential "none"`},
	}
	var targets []collector.Target
	for _, c := range cases {
		targets = append(targets, target(c.name, c.addr, c.cred))
	}
	if err := s.Set(targets); err != nil {
		t.Fatal(err)
	}
	var polls sync.WaitGroup
	for _, c := range cases {
		polls.Go(func() {
			err := s.PollNow(t.Context(), c.name)
			switch {
			case c.says == "" && err != nil:
				t.Errorf("%s: %v", c.name, err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.name)):
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
	polls.Wait()
	mu.Lock()
	defer mu.Unlock()
	for _, c := range cases {
		if want := c.says == ""; (up[c.name] == 1) != want {
			t.Errorf("%s: up is %v", c.name, up[c.name])
		}
	}
}

// BenchmarkPoll48 polls a full switch of 48 ports and reports this process'
// CPU time a poll.
func BenchmarkPoll48(b *testing.B) {
	agents := simulator(b, need.Shared(b, "snmp", "bench"), "-devices", "1", "-live")
	for _, cred := range []string{"v2c", "v3"} {
		b.Run(cred, func(b *testing.B) {
			s := New(snmpconn.New(snmpconn.Options{}), func(string) (snmpconn.Credential, error) { return credentials[cred], nil })
			before := cpu(b)
			for b.Loop() {
				if _, err := s.Poll(b.Context(), target("sw", agents.Address(0), cred)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/poll")
		})
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
