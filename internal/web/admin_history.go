package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	promtsdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/index"

	"nocturne/tsdb"
	"nocturne/tsdb/forward"
	"nocturne/views/admin"
	"nocturne/views/ui"
)

// headRows is how many of the largest are told of what the head is made of.
const headRows = 10

// historyPage shows how the store of samples fares.
func (s *Server) historyPage(w http.ResponseWriter, r *http.Request) error {
	l := s.lookAtHistory(time.Now())
	m := admin.History{
		Page: s.page(r, "History"), Query: ui.ParseQuery("/admin/history", r.URL.Query()), Opened: s.Started, Verdict: l.verdict(),
		Tiles: l.tiles(), Facts: l.facts(), Held: l.held(), SetAside: l.Stats.SetAside, Remote: l.remote(), Costs: costs(l.head),
	}
	for _, x := range l.Stats.Lost {
		m.Lost = append(m.Lost, admin.Lost(x))
	}
	for _, x := range l.receivers {
		m.To = append(m.To, receiverRow(x))
	}
	all := l.sources()
	m.Known = len(all)
	found := slices.DeleteFunc(all, func(x admin.Source) bool {
		return !strings.Contains(strings.ToLower(x.Name), strings.ToLower(m.Query.Text)) || m.Query.State != "" && x.State != m.Query.State
	})
	sortSources(found, m.Query)
	m.Sources, m.Pager = paged(found, &m.Query)
	s.render(w, r, http.StatusOK, admin.HistoryPage(m))
	return nil
}

// historyLook is what the page and the API tell of, taken at one moment.
type historyLook struct {
	tsdb.Stats
	now, started time.Time
	limits       tsdb.Limits
	keep         time.Duration
	free, least  int64
	roomErr      error
	receivers    []forward.Status
	head         *promtsdb.Stats
}

func (s *Server) lookAtHistory(now time.Time) *historyLook {
	l := &historyLook{
		Stats: s.History.Stats(), now: now, started: s.Started, limits: s.History.Limits(), keep: s.History.QueryLimits().Retention,
	}
	l.free, l.least, l.roomErr = s.History.Room()
	l.head, _ = s.History.HeadStats(headRows)
	if s.Receivers != nil {
		l.receivers = s.Receivers()
	}
	return l
}

func sortSources(rows []admin.Source, q ui.Query) {
	slices.SortStableFunc(rows, func(a, b admin.Source) int {
		c := 0
		switch q.Sort {
		case "name":
		case "series":
			c = cmp.Compare(b.Series, a.Series)
		case "appended":
			c = cmp.Compare(b.Appended, a.Appended)
		case "rejected":
			c = cmp.Compare(b.Rejected, a.Rejected)
		default:
			c = cmp.Compare(a.State.Rank(), b.State.Rank())
		}
		c = cmp.Or(c, naturally(a.Name, b.Name), cmp.Compare(a.Name, b.Name))
		if q.Desc {
			return -c
		}
		return c
	})
}

// rejections are the reasons for which samples are left out, in words.
var rejections = []struct {
	reason tsdb.Reason
	words  string
	n      func(tsdb.AppendResult) int
}{
	{tsdb.SourceLimit, "over the source's limit", func(a tsdb.AppendResult) int { return a.SourceLimit }},
	{tsdb.SeriesLimit, "over the limit of all", func(a tsdb.AppendResult) int { return a.SeriesLimit }},
	{tsdb.LabelLimit, "labels too many or too long", func(a tsdb.AppendResult) int { return a.LabelLimit }},
	{tsdb.Invalid, "invalid", func(a tsdb.AppendResult) int { return a.Invalid }},
	{tsdb.TooOld, "too old", func(a tsdb.AppendResult) int { return a.TooOld }},
	{tsdb.OutOfOrder, "out of order", func(a tsdb.AppendResult) int { return a.OutOfOrder }},
	{tsdb.Future, "from the future", func(a tsdb.AppendResult) int { return a.Future }},
	{tsdb.Duplicate, "another value at the same time", func(a tsdb.AppendResult) int { return a.Duplicate }},
}

func (l *historyLook) sources() []admin.Source {
	out := make([]admin.Source, 0, len(l.Sources))
	for _, x := range l.Sources {
		row := admin.Source{Name: x.Name, Series: x.Series, Limit: l.limits.SeriesPerSource, Appended: x.Appended.Appended, Rejected: x.Appended.Rejected()}
		for _, r := range rejections {
			if n := r.n(x.Appended); n > 0 {
				row.Reasons = append(row.Reasons, admin.Rejected{Reason: r.words, N: n})
			}
		}
		row.State, row.Why = l.sourceState(row)
		out = append(out, row)
	}
	return out
}

// rejectedShare is the share of a source's samples from which on what is
// rejected is a warning: now and then a sample comes twice everywhere.
const rejectedShare = 0.01

func (l *historyLook) sourceState(s admin.Source) (ui.State, string) {
	near := admin.NearLimit * float64(s.Limit)
	switch {
	case l.ReadOnly != nil:
		return ui.Unknown, "nothing is taken while the history is read-only"
	case s.Series >= s.Limit:
		return ui.Major, "at its limit of series: new ones are rejected"
	case s.Appended == 0 && s.Rejected > 0:
		return ui.Major, "all it sent was rejected"
	case float64(s.Series) >= near:
		return ui.Warning, "near its limit of series"
	case float64(s.Rejected) >= rejectedShare*float64(s.Appended+s.Rejected) && s.Rejected > 0:
		return ui.Warning, fmt.Sprintf("%.3g %% of its samples were rejected", 100*float64(s.Rejected)/float64(s.Appended+s.Rejected))
	case s.Appended == 0:
		return ui.Unknown, "has sent nothing since the start"
	}
	return ui.OK, ""
}

func receiverRow(x forward.Status) admin.Receiver {
	state, why := receiverState(x)
	return admin.Receiver{
		Name: x.Name, URL: x.URL, Protocol: x.Protocol, State: state, Why: why, Lag: x.Lag, Position: x.Position, Waiting: x.Waiting,
		Sent: x.Sent, Refused: x.Refused, Dropped: x.Dropped, Retries: x.Retries, From: x.CatchUpFrom, To: x.CatchUpTo, Err: x.LastError, ErrAt: x.LastErrorAt,
	}
}

// lagging is how far behind a receiver may be that answers.
const lagging = 2 * time.Minute

// receiverState says how a receiver fares. One that has not answered since the
// start is not known to be well.
func receiverState(x forward.Status) (ui.State, string) {
	switch {
	case x.Failing:
		return ui.Major, "does not take samples; they wait here and are sent again"
	case !x.CatchUpFrom.IsZero():
		return ui.Warning, "catching up from the blocks: " + ui.Stamp(x.CatchUpFrom) + " to " + ui.Stamp(x.CatchUpTo) + " UTC"
	case x.Sent == 0 && x.Refused == 0:
		return ui.Unknown, "has answered nothing since the start"
	case x.Lag > lagging:
		return ui.Warning, "behind by " + ui.Span(x.Lag)
	case x.Refused > 0:
		return ui.Warning, "refuses samples: they are not sent again"
	}
	return ui.OK, ""
}

func (l *historyLook) remote() *admin.RemoteHistory {
	if l.Remote == nil {
		return nil
	}
	r := &admin.RemoteHistory{URL: l.Remote.URL, Last: l.Remote.LastAnswer, Behind: l.Remote.Behind, State: ui.OK, Why: "answers"}
	switch {
	case l.Remote.Err != nil:
		r.State, r.Why = ui.Critical, "does not answer since "+ui.Stamp(l.Remote.ErrSince)+" UTC: "+l.Remote.Err.Error()
	case l.Remote.LastAnswer.IsZero():
		r.State, r.Why = ui.Unknown, "not asked yet"
	}
	return r
}

// held has a row for each resolution that samples are kept at.
func (l *historyLook) held() []admin.Held {
	var out []admin.Held
	if !l.MinTime.IsZero() {
		out = append(out, admin.Held{Name: "as they came", Blocks: l.Blocks, Bytes: l.Bytes, From: l.MinTime, To: l.MaxTime})
	}
	for _, t := range l.Tiers {
		h := admin.Held{Name: "rolled up to " + t.Name, Blocks: t.Blocks, Bytes: t.Bytes, Samples: t.Samples}
		if n := len(t.Covered); n > 0 {
			h.From, h.To = time.UnixMilli(t.Covered[0].From).UTC(), time.UnixMilli(t.Covered[n-1].To).UTC()
		}
		out = append(out, h)
	}
	return out
}

func (l *historyLook) tiles() []admin.Tile {
	series := share(int(l.Series), l.limits.Series)
	taken := admin.Tile{Label: "Samples taken", Value: metric(float64(l.Appended.Appended)), Hint: "since the start"}
	rejected := admin.Tile{Label: "Samples rejected", Value: metric(float64(l.Appended.Rejected())), Hint: "none since the start"}
	if n := l.Appended.Rejected(); n > 0 {
		rejected.Hint = fmt.Sprintf("%.2g %% of what came since the start", 100*float64(n)/float64(n+l.Appended.Appended))
	}
	span := admin.Tile{Label: "Held", Value: "–", Hint: "nothing yet"}
	if !l.MinTime.IsZero() {
		span.Value, span.Hint = ui.Span(l.MaxTime.Sub(l.MinTime)), fmt.Sprintf("%s in %s", ui.Bytes(l.Bytes), ui.Count(l.Blocks, "block", "blocks"))
	}
	room := admin.Tile{Label: "Free on its disk", Value: "–", Hint: "not known"}
	if l.roomErr == nil {
		room.Value, room.Hint = ui.Bytes(l.free), "read-only below "+ui.Bytes(l.least)
	}
	return []admin.Tile{
		{Label: "Series in memory", Value: metric(float64(l.Series)), Share: series, State: shareState(series), Hint: "of " + metric(float64(l.limits.Series)) + " at most"},
		taken, rejected, span, room,
		{Label: "Last made durable", Value: ui.Ago(l.now, l.LastSync), Hint: "done every half second"},
	}
}

func share(n, limit int) float64 { return float64(n) / float64(max(1, limit)) }

func shareState(share float64) ui.State {
	switch {
	case share >= 1:
		return ui.Major
	case share >= admin.NearLimit:
		return ui.Warning
	}
	return ui.OK
}

func (l *historyLook) facts() []ui.Property {
	synced := "nothing yet"
	if !l.LastSync.IsZero() {
		synced = ui.Stamp(l.LastSync) + " UTC"
	}
	if l.SyncErr != nil {
		synced += "; failed since: " + oneLine(l.SyncErr)
	}
	return []ui.Property{
		{Name: "Log made durable", Value: synced},
		{Name: "Kept as they came", Value: ui.Span(l.keep)},
		{Name: "Series in all", Value: ui.Grouped(l.Series) + " of " + ui.Grouped(l.limits.Series)},
		{Name: "Series of one source", Value: "at most " + ui.Grouped(l.limits.SeriesPerSource)},
		{Name: "Labels of a series", Value: "at most " + ui.Grouped(l.limits.Labels)},
		{Name: "Length of a label", Value: fmt.Sprintf("name at most %s bytes, value %s", ui.Grouped(l.limits.LabelNameLength), ui.Grouped(l.limits.LabelValueLength))},
	}
}

// costs are what the series of the head are made of.
func costs(head *promtsdb.Stats) []admin.Cost {
	if head == nil || head.NumSeries == 0 || head.IndexPostingStats == nil {
		return nil
	}
	p := head.IndexPostingStats
	rows := func(in []index.Stat, of uint64) []admin.Share {
		var out []admin.Share
		for _, x := range in {
			part := -1.0
			if of > 0 {
				part = float64(x.Count) / float64(of)
			}
			out = append(out, admin.Share{Name: x.Name, N: x.Count, Share: part})
		}
		return out
	}
	return []admin.Cost{
		{ID: "c-metrics", Title: "By metric", About: "How many series a metric has.", What: "Metric", Unit: "Series", Rows: rows(p.CardinalityMetricsStats, head.NumSeries)},
		{ID: "c-pairs", Title: "By label and value", About: "How many series carry the pair.", What: "Label", Unit: "Series", Rows: rows(p.LabelValuePairsStats, head.NumSeries)},
		{ID: "c-labels", Title: "By label", About: "How many values a label has: each makes series.", What: "Label", Unit: "Values", Rows: rows(p.CardinalityLabelStats, 0)},
	}
}
