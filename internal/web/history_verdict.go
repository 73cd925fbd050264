package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nocturne/tsdb"
	"nocturne/views/admin"
	"nocturne/views/ui"
)

// readOnlyWord says in one line since when and why the history or the records
// are read-only; "" while neither is.
func (s *Server) readOnlyWord() string {
	var words []string
	if s.StateReadOnly != nil {
		if since, err := s.StateReadOnly(); err != nil {
			words = append(words, "Nothing can be changed and nothing is run, since "+ui.Stamp(since)+" UTC: "+oneLine(err))
		}
	}
	if since, err := s.History.ReadOnly(); err != nil {
		words = append(words, "History takes no samples, since "+ui.Stamp(since)+" UTC: "+readOnlyReason(err))
	}
	return strings.Join(words, ". ")
}

// readOnlyReason is the cause without the words that go before it.
func readOnlyReason(err error) string {
	text := strings.TrimPrefix(oneLine(err), tsdb.ErrReadOnly.Error())
	if text = strings.TrimLeft(text, ":; "); text == "" {
		return "the program's log has the cause"
	}
	return text
}

// oneLine writes errors that were joined beside each other.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// verdict judges the whole. What was not looked at is not called well.
func (l *historyLook) verdict() admin.Verdict {
	v := admin.Verdict{Title: "History takes samples and answers"}
	add := func(state ui.State, href, format string, a ...any) {
		v.Reasons = append(v.Reasons, admin.Reason{State: state, Href: href, Text: fmt.Sprintf(format, a...)})
	}
	l.judgeWriting(add)
	l.judgeReading(add)
	l.judgeSources(add)
	for _, x := range l.receivers {
		if state, why := receiverState(x); state != ui.OK {
			add(state, "#receivers", "Receiver %s %s.", x.Name, why)
		}
	}
	slices.SortStableFunc(v.Reasons, func(a, b admin.Reason) int { return a.State.Rank() - b.State.Rank() })
	v.State = ui.OK
	if len(v.Reasons) > 0 {
		v.State = v.Reasons[0].State
	}
	switch {
	case l.ReadOnly != nil:
		v.Title = "History is read-only since " + ui.Stamp(l.ReadOnlySince) + " UTC: no samples are taken. What is stored can be asked."
	case v.State == ui.Unknown:
		v.Title = "Not all is known of the history yet"
	case v.State != ui.OK:
		v.Title = "History takes samples, but not all is well"
	}
	return v
}

type judge func(state ui.State, href, format string, a ...any)

func (l *historyLook) judgeWriting(add judge) {
	if l.ReadOnly != nil {
		text := readOnlyReason(l.ReadOnly) + "."
		if l.SyncErr == nil {
			text += " It takes samples again by itself once there is room."
		}
		add(ui.Critical, "#limits", "%s", strings.ToUpper(text[:1])+text[1:])
	}
	if l.SyncErr != nil {
		add(ui.Critical, "#limits", "The log cannot be made durable: %s.", oneLine(l.SyncErr))
	}
	up := l.now.Sub(l.started)
	switch late := l.now.Sub(l.LastSync); {
	case l.LastSync.IsZero() && up <= startUp:
		add(ui.Unknown, "#limits", "Nothing was made durable yet.")
	case l.LastSync.IsZero():
		add(ui.Critical, "#limits", "Nothing was made durable since the start.")
	case late > syncWithin && up > startUp:
		add(ui.Critical, "#limits", "Nothing was made durable for %s.", ui.Span(late.Round(time.Second)))
	}
	if l.roomErr != nil {
		add(ui.Unknown, "#limits", "How much room its disk has is not known: %s.", oneLine(l.roomErr))
	}
}

func (l *historyLook) judgeReading(add judge) {
	if r := l.remote(); r != nil && r.State != ui.OK {
		add(r.State, "#remote", "The store that samples are read from: %s.", r.Why)
	}
	if n := len(l.Stats.Lost); n > 0 {
		add(ui.Major, "#damage", "%s of the log could not be read: samples are lost.", ui.Count(n, "stretch", "stretches"))
	}
	if n := len(l.Stats.SetAside); n > 0 {
		add(ui.Major, "#damage", "%s damaged and set aside.", ui.Count(n, "part was", "parts were"))
	}
}

func (l *historyLook) judgeSources(add judge) {
	switch part := share(int(l.Series), l.limits.Series); {
	case part >= 1:
		add(ui.Major, "#sources", "As many series are in memory as may be: new ones are rejected.")
	case part >= admin.NearLimit:
		add(ui.Warning, "#sources", "%s of %s series that may be in memory are.", ui.Grouped(l.Series), ui.Grouped(l.limits.Series))
	}
	if l.ReadOnly != nil {
		return // it is the same for all of them
	}
	named := map[ui.State][]string{}
	for _, x := range l.sources() {
		if x.State.Fault() {
			named[x.State] = append(named[x.State], x.Name+" ("+x.Why+")")
		}
	}
	const most = 3
	for state, names := range named {
		more := ""
		if n := len(names) - most; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		noun := "Source "
		if len(names) > 1 {
			noun = "Sources "
		}
		add(state, "#sources", "%s%s%s.", noun, strings.Join(names[:min(most, len(names))], ", "), more)
	}
}
