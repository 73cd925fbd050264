package promapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	prom "github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// noted is one entry of the ledger.
type noted struct {
	Action string
	Change change
}

// administered is our side with a ledger, which may be full.
type administered struct {
	url   string
	dir   string
	db    *tsdb.DB
	notes []noted
	full  error
}

func (a *administered) open(t *testing.T, o tsdb.Options) {
	t.Helper()
	o.Dir, o.Log = a.dir, quiet()
	var err error
	if a.db, err = tsdb.Open(o); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(New(Options{DB: a.db, Record: func(_ context.Context, action string, data any) error {
		if a.full == nil {
			a.notes = append(a.notes, noted{action, data.(change)})
		}
		return a.full
	}}))
	a.url = s.URL
	t.Cleanup(func() { s.Close(); a.db.Close() })
}

// change sends a request that changes something.
func (q request) change(t *testing.T, base, method string) reply {
	t.Helper()
	target, body := base+q.path, ""
	if q.post {
		body = q.form.Encode()
	} else {
		target += "?" + q.form.Encode()
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if q.post {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return send(t, req)
}

func deleting(r *rand.Rand, kv ...string) request {
	q := ask("admin/tsdb/delete_series", kv...)
	q.post = r.IntN(2) == 0
	return q
}

var cleaning = ask("admin/tsdb/clean_tombstones")

// withBlocks writes what is old in the folder as blocks.
func withBlocks(t *testing.T, dir string) string {
	t.Helper()
	db, err := prom.Open(dir, quiet(), nil, prom.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Compact(t.Context()), db.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// onDisk counts what the blocks of a folder hold.
func onDisk(t *testing.T, dir string) (blocks int, samples, tombstones uint64) {
	t.Helper()
	metas, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range metas {
		var m prom.BlockMeta
		if text, err := os.ReadFile(path); err != nil || json.Unmarshal(text, &m) != nil {
			t.Fatal(path, err)
		}
		blocks, samples, tombstones = blocks+1, samples+m.Stats.NumSamples, tombstones+m.Stats.NumTombstones
	}
	return blocks, samples, tombstones
}

// randomDeletion selects some series for some time. What subtracts comes last:
// elsewhere Prometheus deletes, once in a while, from series that nobody named
// (https://github.com/prometheus/prometheus/pull/19689).
func randomDeletion(r *rand.Rand, h history) request {
	var kv []string
	var s labels.Labels
	for range 1 + r.IntN(2) {
		s = h.series[r.IntN(len(h.series))]
		name, instance := s.Get("__name__"), s.Get("instance")
		one := fmt.Sprintf(`{__name__=%q,instance=%q}`, name, instance)
		kv = append(kv, "match[]", pick(r, one, one, one, one, one, one,
			fmt.Sprintf(`{instance=%q,ifName=~"Ethernet.*"}`, instance),
			fmt.Sprintf(`{__name__=~".+s",instance=~"leaf[%d-6]"}`, 1+r.IntN(6)),
			fmt.Sprintf(`{instance=%q,le!="",le!="1"}`, instance),
			`native{instance="leaf1"}`, `custom`, `{__name__="ending",instance=""}`, `nothing`, `{}`))
	}
	at := func() time.Time { // that of a sample that is deleted, most likely, or just beside
		for {
			for _, have := range h.samples[r.IntN(len(h.samples))] {
				if labels.Equal(have.Labels, s) {
					return time.UnixMilli(have.T + pick(r, int64(-1), 0, 1))
				}
			}
		}
	}
	start, end := at(), at()
	if end.Before(start) && r.IntN(10) > 0 {
		start, end = end, start
	}
	if r.IntN(5) > 0 {
		kv = append(kv, "start", pick(r, unix(start), start.UTC().Format(time.RFC3339Nano)))
	}
	if r.IntN(5) > 0 {
		kv = append(kv, "end", pick(r, unix(end), end.UTC().Format(time.RFC3339Nano)))
	}
	return deleting(r, kv...)
}

// TestDeletesLikePrometheus deletes random series from blocks and from the
// head on both sides, and compares what is left, before and after the
// tombstones are cleaned and the store is opened anew.
func TestDeletesLikePrometheus(t *testing.T) {
	_, r := need.Seed(t)
	h := randomHistoryTo(r, time.Now().Add(-time.Hour).Truncate(time.Minute), 5*time.Hour)
	dir := withBlocks(t, h.folder(t))
	us := &administered{dir: copied(t, dir)}
	us.open(t, tsdb.Options{})
	them := peer(t, dir, outOfOrder, "--web.enable-admin-api")
	left := []request{
		ask("query", "query", `{__name__=~".+"}[6h]`, "time", unix(h.to)),
		ask("series", "match[]", `{__name__=~".+"}`), ask("labels"), ask("label/instance/values"), ask("label/ifName/values"),
	}
	compare := func(when string) {
		t.Helper()
		for _, q := range left {
			want, got := q.do(t, them), q.do(t, us.url)
			if want.Status != http.StatusOK || want != got {
				t.Fatalf("%s, %s: %d and %d bytes differ: %s", when, q, len(want.Body), len(got.Body), cmp.Diff(want.Body[:min(2000, len(want.Body))], got.Body[:min(2000, len(got.Body))]))
			}
		}
	}
	compare("before")
	for i := range 12 {
		q, method := randomDeletion(r, h), pick(r, "POST", "PUT")
		want, got := q.change(t, them, method), q.change(t, us.url, method)
		if want != got || got.Status != http.StatusNoContent {
			t.Fatalf("%s %s: %+v, Prometheus %+v", method, q, got, want)
		}
		compare(fmt.Sprintf("deletion %d: %s", i, q))
		if i%4 != 3 {
			continue
		}
		_, before, stones := onDisk(t, us.dir)
		if want, got := cleaning.change(t, them, method), cleaning.change(t, us.url, method); want != got || got.Status != http.StatusNoContent {
			t.Fatalf("clean: %+v, Prometheus %+v", got, want)
		}
		compare(fmt.Sprint("cleaned after ", i))
		blocks, after, dirty := onDisk(t, us.dir)
		if dirty != 0 || stones > 0 && after >= before || stones == 0 && after != before {
			t.Errorf("%d tombstones in blocks of %d samples; cleaned, %d in %d", stones, before, dirty, after)
		}
		t.Logf("%d deletions: %d blocks, of %d samples %d are left on disk", i+1, blocks, before, after)
	}
	if err := us.db.Close(); err != nil {
		t.Fatal(err)
	}
	us.open(t, tsdb.Options{})
	compare("opened anew")
	if n := len(us.notes); n != 2*(12+3) {
		t.Errorf("%d entries in the ledger for 12 deletions and 3 cleanings", n)
	}
}

// TestAdminFaultsLikePrometheus compares how wrong requests are refused.
func TestAdminFaultsLikePrometheus(t *testing.T) {
	_, r := need.Seed(t)
	dir := randomHistoryTo(r, time.Now().Add(-time.Hour).Truncate(time.Minute), 5*time.Minute).folder(t)
	us := &administered{dir: copied(t, dir)}
	us.open(t, tsdb.Options{})
	them := peer(t, dir, outOfOrder, "--web.enable-admin-api")
	refused := 0
	for _, kv := range [][]string{
		{}, {"match[]", ""}, {"match[]", "up{"}, {"match[]", "up", "match[]", "a b"}, {"match[]", "{a=~\"(\"}"}, {"match[]", "sum(up)"}, {"match[]", "up[5m]"}, {"match[]", "{__name__=\"a\",__name__=\"b\"}"},
		{"match[]", "up offset 5m"}, {"match[]", "1"}, {"match", "up"}, {"match[]", "<up>"}, {"match[]", "up", "start", "yesterday"}, {"match[]", "up", "end", "1e"}, {"match[]", "up{", "start", "x", "end", "y"},
		{"start", "x"}, {"match[]", "nothing", "start", "5", "end", "4"}, {"match[]", "nothing", "start", "1e300"}, {"match[]", "nothing", "start", minTime.Format(time.RFC3339Nano), "end", maxTime.Format(time.RFC3339Nano)},
		{"match[]", "{}"}, {"match[]", "nothing", "start", "-1e9", "end", "1e12"},
	} {
		for _, method := range []string{"POST", "PUT"} {
			for _, form := range []bool{true, false} {
				q := request{"/api/v1/admin/tsdb/delete_series", ask("", kv...).form, form}
				want, got := q.change(t, them, method), q.change(t, us.url, method)
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s %s (-prometheus +nocturne):\n%s", method, q, d)
				}
				if want.Status >= 400 {
					refused++
				}
			}
		}
	}
	if us.full = errors.New("no entry"); refused < 50 {
		t.Errorf("only %d were refused", refused)
	}
	if got := deleting(r, "match[]", "up").change(t, us.url, "POST"); got.Status != http.StatusInternalServerError {
		t.Errorf("deleted without an entry in the ledger: %+v", got)
	}
	if got := ask("query", "query", `count_over_time(up[1h] offset 1h)`).do(t, us.url); !strings.Contains(got.Body, `"leaf6"`) {
		t.Errorf("a refused deletion has deleted: %s", got.Body)
	}
	for _, path := range []string{"delete_series", "clean_tombstones"} {
		for _, method := range []string{"GET", "HEAD", "DELETE", "PATCH", "OPTIONS"} {
			want, wantBody := exchange(t, method, them+"/api/v1/admin/tsdb/"+path, "Origin", "http://elsewhere")
			got, gotBody := exchange(t, method, us.url+"/api/v1/admin/tsdb/"+path, "Origin", "http://elsewhere")
			if got.StatusCode != want.StatusCode || gotBody != wantBody || got.Header.Get("Access-Control-Allow-Methods") != want.Header.Get("Access-Control-Allow-Methods") {
				t.Errorf("%s %s: %d %q, Prometheus %d %q", method, path, got.StatusCode, gotBody, want.StatusCode, wantBody)
			}
		}
	}
}

// TestWhatIsNoted looks at the entries of a deletion, and at histories that
// nothing can be deleted from.
func TestWhatIsNoted(t *testing.T) {
	a := &administered{dir: t.TempDir()}
	a.open(t, tsdb.Options{})
	now := time.Now()
	for n := range 3 {
		if _, err := a.db.Append(t.Context(), []tsdb.Sample{{Labels: labels.FromStrings("__name__", "m", "n", fmt.Sprint(n)), T: now.UnixMilli(), V: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	form := url.Values{"match[]": {`m{n="1"}`, `m{n="2"}`}, "start": {"1000"}}
	if got := (request{"/api/v1/admin/tsdb/delete_series", form, true}).change(t, a.url, "POST"); got != (reply{Status: http.StatusNoContent}) {
		t.Fatalf("%+v", got)
	}
	if got := ask("query", "query", "count(m)", "time", unix(now)).do(t, a.url); !strings.Contains(got.Body, `"1"]}]`) {
		t.Errorf("left: %s", got.Body)
	}
	if got := cleaning.change(t, a.url, "PUT"); got.Status != http.StatusNoContent {
		t.Fatalf("%+v", got)
	}
	for i := range a.notes {
		if took := a.notes[i].Change.Took; (took != "") != (i%2 == 1) {
			t.Errorf("entry %d took %q", i, took)
		}
		a.notes[i].Change.Took = ""
	}
	what := change{Match: form["match[]"], Start: "1970-01-01T00:16:40Z"}
	after := what
	after.Result = "done"
	want := []noted{{"history.delete", what}, {"history.delete done", after}, {"history.clean", change{}}, {"history.clean done", change{Result: "done"}}}
	if d := cmp.Diff(want, a.notes); d != "" {
		t.Error(d)
	}
	for name, c := range map[string]struct {
		o    tsdb.Options
		want reply
		said string
	}{
		"remote":    {tsdb.Options{Remote: &tsdb.Remote{URL: "http://127.0.0.1:1"}}, reply{Status: 422, Body: `"errorType":"execution"`}, "delete it there"},
		"read-only": {tsdb.Options{MinFree: 1 << 60}, reply{Status: 503, Body: `"errorType":"unavailable"`}, "history is read-only: "},
	} {
		b := &administered{dir: t.TempDir()}
		b.open(t, c.o)
		for _, q := range []request{ask("admin/tsdb/delete_series", "match[]", "m"), cleaning} {
			got := q.change(t, b.url, "POST")
			if got.Status != c.want.Status || !strings.Contains(got.Body, c.want.Body) || !strings.Contains(got.Body, c.said) {
				t.Errorf("%s: %s: %+v", name, q, got)
			}
			last := b.notes[len(b.notes)-1]
			if !strings.HasSuffix(last.Action, " failed") || !strings.Contains(last.Change.Result, c.said) {
				t.Errorf("%s: noted %+v", name, last)
			}
		}
		if b.full = errors.New("no entry"); name == "read-only" {
			if got := cleaning.change(t, b.url, "POST"); got.Status != http.StatusServiceUnavailable {
				t.Errorf("a full disk that takes no entry: %+v", got)
			}
		}
	}
}
