package views

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/views/devices"
	"nocturne/views/static"
	"nocturne/views/ui"
)

const (
	appPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
		"connect-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
	wallPolicy = appPolicy + "; require-trusted-types-for 'script'"
)

// preview serves every page with fixed models, its assets, a live stream and
// chart data, under the policies of the real server.
func preview() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+static.Prefix, static.Handler())
	for _, s := range pages() {
		path := s.path
		if path == "/" {
			path = "/{$}"
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Content-Security-Policy", appPolicy)
			if s.wall {
				w.Header().Set("Content-Security-Policy", wallPolicy)
			}
			_ = s.page.Render(r.Context(), w) // a reader that went away
		})
	}
	mux.HandleFunc("GET /index.json", func(w http.ResponseWriter, _ *http.Request) {
		type line struct{ Name, Path string }
		var all []line
		for _, s := range pages() {
			all = append(all, line{s.name, s.path})
		}
		_ = json.NewEncoder(w).Encode(all)
	})
	mux.HandleFunc("GET /api/nocturne/v1/chart", chartData)
	mux.HandleFunc("GET /api/nocturne/v1/search", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"results":[{"id":"host/web-03","kind":"host","name":"web-03","href":"/device/host/web-03","state":"critical"},{"id":"device/leaf4","kind":"device","name":"leaf4","href":"/device/device/leaf4","state":"major"}]}`)
	})
	var still atomic.Bool
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, r *http.Request) { live(w, r, &still) })
	mux.HandleFunc("POST /still", func(_ http.ResponseWriter, r *http.Request) { still.Store(r.FormValue("on") == "yes") })
	mux.HandleFunc("GET /filtered", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", appPolicy)
		m := deviceList()
		m.Query = ui.ParseQuery("/filtered", r.URL.Query())
		m.Rows = slices.DeleteFunc(m.Rows, func(row devices.Row) bool {
			return !strings.Contains(row.Name, m.Query.Text) || m.Query.State != "" && m.Query.State != row.State
		})
		m.Pager = ui.Pager{Total: len(m.Rows), PerPage: 50}
		_ = devices.ListPage(m).Render(r.Context(), w) // a reader that went away
	})
	return mux
}

func chartData(w http.ResponseWriter, r *http.Request) {
	type series struct {
		Key   string       `json:"key"`
		Label string       `json:"label"`
		Unit  string       `json:"unit"`
		Pts   [][2]float64 `json:"pts"`
	}
	t := float64(time.Now().Unix())
	names, scale := []string{"user", "system", "iowait"}, 18.0
	switch r.FormValue("kind") {
	case "net":
		names, scale = []string{"Ethernet1", "Ethernet2", "Ethernet3", "Ethernet4", "Ethernet5", "Ethernet6"}, 1.4e9
	case "bytes":
		names, scale = []string{"used", "cached"}, 6e9
	case "step":
		names, scale = []string{"shop-web.service"}, 1
	case "none":
		names = nil
	}
	var all []series
	for i, n := range names {
		s := series{Key: n, Label: n}
		for k := range 240 {
			x := float64(k)
			s.Pts = append(s.Pts, [2]float64{t - 3600 + 15*x, scale * (1.2 + math.Sin(x/30+float64(i))*.6 + .08*math.Sin(x*2.1+float64(i))) / float64(1+i/3)})
		}
		all = append(all, s)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"series": all, "from": t - 3600, "to": t})
}

// live is a stream that lives: a snap, then each second deltas, points, lines
// and a heartbeat; each seventh delta leaves a gap in seq. While still it
// says nothing, as a server that hangs.
func live(w http.ResponseWriter, r *http.Request, still *atomic.Bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	send := func(event string, v any) {
		b, _ := json.Marshal(v)
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, b)
		_ = flush.Flush()
	}
	_ = flush.Flush()
	if !still.Load() {
		send("snap", map[string]any{"items": map[string]string{}, "seq": 1, "t": time.Now().Unix()})
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for seq := 2; ; seq++ {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			if still.Load() {
				continue
			}
			if seq%7 == 0 {
				seq++
			}
			state := []string{"critical", "ok"}[seq%2]
			send("delta", map[string]any{"seq": seq, "t": time.Now().Unix(), "tally": map[string]int{"critical": 90 + seq},
				"ch": [][2]string{{"host/web-04", state}, {"device/spine1-1", state}, {"device/srv001-A01", state}}})
			send("points", map[string]any{"item": "host/web-03", "series": []any{map[string]any{"key": "user", "pts": [][2]float64{{float64(time.Now().Unix()), 40}}}}})
			send("line", map[string]any{"job": "rem-1f22ab90cd", "seq": seq + 10, "host": "web-03", "step": "restart", "text": fmt.Sprintf("live line %d", seq)})
			beat := map[string]any{"t": time.Now().Unix()}
			if strings.HasSuffix(r.Referer(), "/racks") && seq > 3 {
				beat["readOnly"] = []string{"Since 2026-11-23 10:41:12 UTC: no room", ""}[time.Now().Unix()/5%2]
			}
			send("hb", beat)
		}
	}
}

// TestPagesInBrowser walks every page in Chromium: nothing in the console, no
// violation of the policies, none of axe's, and pictures to look at in
// artifacts; and uses what moves: the live stream, filters, search, the map.
// NOCTURNE_PREVIEW=127.0.0.1:8199 serves the pages instead, to look
// at by hand.
func TestPagesInBrowser(t *testing.T) {
	if addr := os.Getenv("NOCTURNE_PREVIEW"); addr != "" {
		t.Fatal(http.ListenAndServe(addr, preview()))
	}
	if testing.Short() {
		t.Skip("short: the walk through the browser is part of the whole test")
	}
	need.Binary(t, "chromium", "chromium")
	node := need.Binary(t, "node", "nodejs")
	tool, err := filepath.Abs("../tools/browser")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(tool, "node_modules")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs tools/browser/install: node_modules is not there")
		}
		t.Skip("needs tools/browser/install: node_modules is not there")
	}
	srv := httptest.NewServer(preview())
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections) // runs first: streams never end by themselves
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test", "--test-reporter=spec", "--test-concurrency=1",
		filepath.Join(tool, "pages.test.mjs"), filepath.Join(tool, "live.test.mjs"))
	cmd.Env = append(os.Environ(), "NOCTURNE_URL="+srv.URL, "NOCTURNE_ARTIFACTS="+artifacts(t))
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func artifacts(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../artifacts/pages")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
