package web

import (
	"regexp"
	"strings"
	"testing"
)

// TestFiguresFollowTheFirstPage opens the overview before anybody has asked
// for its key figures: the page does not wait for them, and its stream says
// when they are there.
func TestFiguresFollowTheFirstPage(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	overview := func() (string, string) {
		status, body := r.ask(r.viewer, "GET", "/", nil)
		if status != 200 {
			t.Fatalf("the overview: %d", status)
		}
		topic := regexp.MustCompile(`figures:\d+`).FindString(body)
		_, tiles, _ := strings.Cut(body, `id="tiles"`)
		tiles, _, _ = strings.Cut(tiles, `class="cols"`)
		return topic, tiles
	}
	topic, drawn := overview()
	if topic != "figures:0" || strings.Count(drawn, "being read") != len(tiles) {
		t.Fatalf("the first page, %q: %s", topic, drawn)
	}
	l := r.listen(topic)
	l.next("news of the figures", func(m message) bool { return m.name == "frag" && m.data["topic"] == "figures" })
	topic, drawn = overview()
	if topic != "figures:1" || strings.Contains(drawn, "being read") || !strings.Contains(drawn, "25.0 <small>%") {
		t.Errorf("the page after that, %q: %s", topic, drawn)
	}
	// A page that was drawn before them is told when its stream begins.
	late := r.listen("figures:0")
	late.next("news for a page drawn earlier", func(m message) bool { return m.name == "frag" && m.data["topic"] == "figures" })
}
