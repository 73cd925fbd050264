package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// TestNewestLinesAreKept writes more than is kept from several goroutines.
func TestNewestLinesAreKept(t *testing.T) {
	r := &recent{}
	var shown bytes.Buffer
	log := r.beside(slog.New(slog.NewTextHandler(&shown, &slog.HandlerOptions{Level: slog.LevelError}))).With("component", "test")
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for n := range 2000 {
				log.Info("a line", "writer", writer, "n", n, "text", strings.Repeat("x", 200))
			}
		})
	}
	wg.Wait()
	log.Error("the last one")
	var b bytes.Buffer
	if err := r.copyTo(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if b.Len() > recentBytes || b.Len() < recentBytes-1000 {
		t.Errorf("%d bytes are kept", b.Len())
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, "the last one") || !strings.Contains(last, "component=test") {
		t.Errorf("the last line is %q", last)
	}
	next := map[string]int{}
	for _, l := range lines[:len(lines)-1] {
		var writer, n int
		_, rest, _ := strings.Cut(l, "writer=")
		if _, err := fmt.Sscanf(rest, "%d n=%d", &writer, &n); err != nil || !strings.HasSuffix(l, "xxx") {
			t.Fatalf("a line is not whole: %q", l)
		}
		key := fmt.Sprint(writer)
		if was, seen := next[key]; seen && n != was {
			t.Fatalf("line %d of writer %s comes where %d belongs", n, key, was)
		}
		next[key] = n + 1
	}
	if got := shown.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "the last one") {
		t.Errorf("elsewhere stands %d bytes", len(got))
	}
	if _, err := r.Write(bytes.Repeat([]byte("y"), 2*recentBytes)); err != nil || r.bytes > recentBytes {
		t.Errorf("one long line: %v, %d bytes are kept", err, r.bytes)
	}
	if err := r.copyTo(io.Discard); err != nil {
		t.Error(err)
	}
}
