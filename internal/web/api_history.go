package web

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/tsdb/index"

	"nocturne/internal/access"
	"nocturne/tsdb"
	"nocturne/views/ui"
)

// historyJSON is what the page of the history shows.
type historyJSON struct {
	State    ui.State        `json:"state" enum:"critical,major,warning,unknown,maintenance,ok"`
	Reasons  []reasonJSON    `json:"reasons" doc:"Why it is in this state, the worst first"`
	ReadOnly *readOnlyJSON   `json:"read_only,omitempty" doc:"There while no samples are taken"`
	LastSync *time.Time      `json:"last_sync,omitempty" doc:"When what was taken was last made durable"`
	SyncErr  string          `json:"sync_error,omitempty"`
	Free     *int64          `json:"free_bytes,omitempty" doc:"On its disk"`
	Least    int64           `json:"least_free_bytes" doc:"Below this it becomes read-only"`
	Series   uint64          `json:"series" doc:"In memory"`
	Limits   limitsJSON      `json:"limits"`
	Appended int             `json:"samples_appended" doc:"Since the start"`
	Rejected map[string]int  `json:"samples_rejected" doc:"Since the start, by reason"`
	Sources  []sourceJSON    `json:"sources"`
	Held     []heldJSON      `json:"held" doc:"Of each resolution"`
	Receives []receiverJSON  `json:"receivers"`
	Remote   *remoteReadJSON `json:"remote,omitempty" doc:"There when samples are read from a store elsewhere"`
	SetAside []string        `json:"set_aside" doc:"What was damaged, since the start"`
	Lost     []lostJSON      `json:"lost" doc:"Stretches of the log that could not be read"`
	Cost     costJSON        `json:"cost" doc:"What the series in memory are made of, the largest of each kind"`
}

type reasonJSON struct {
	State ui.State `json:"state"`
	Text  string   `json:"text"`
}

type readOnlyJSON struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

type limitsJSON struct {
	Series           int `json:"series"`
	SeriesPerSource  int `json:"series_per_source"`
	Labels           int `json:"labels"`
	LabelNameLength  int `json:"label_name_length"`
	LabelValueLength int `json:"label_value_length"`
}

type sourceJSON struct {
	Name     string         `json:"name"`
	State    ui.State       `json:"state"`
	Why      string         `json:"why,omitempty"`
	Series   int            `json:"series"`
	Appended int            `json:"samples_appended"`
	Rejected map[string]int `json:"samples_rejected" doc:"By reason"`
}

type heldJSON struct {
	Name    string     `json:"name"`
	From    *time.Time `json:"from,omitempty"`
	To      *time.Time `json:"to,omitempty"`
	Blocks  int        `json:"blocks"`
	Bytes   int64      `json:"bytes" doc:"Of the blocks"`
	Samples uint64     `json:"samples,omitempty" doc:"In the blocks of a tier of rollups"`
}

type receiverJSON struct {
	Name        string     `json:"name"`
	URL         string     `json:"url" doc:"Without its query"`
	Protocol    string     `json:"protocol"`
	State       ui.State   `json:"state"`
	Why         string     `json:"why,omitempty"`
	Position    *time.Time `json:"position,omitempty" doc:"Of the newest sample that was answered for"`
	Lag         float64    `json:"lag_seconds"`
	Waiting     int64      `json:"waiting_bytes"`
	Sent        int64      `json:"samples_sent"`
	Refused     int64      `json:"samples_refused"`
	Dropped     int64      `json:"samples_dropped" doc:"Left out by a rule"`
	Retries     int64      `json:"retries"`
	CatchUpFrom *time.Time `json:"catch_up_from,omitempty" doc:"Of what is still read from the blocks"`
	CatchUpTo   *time.Time `json:"catch_up_to,omitempty"`
	LastError   string     `json:"last_error,omitempty"`
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
}

type remoteReadJSON struct {
	URL        string     `json:"url"`
	State      ui.State   `json:"state"`
	Why        string     `json:"why"`
	LastAnswer *time.Time `json:"last_answer,omitempty"`
	Behind     float64    `json:"behind_seconds"`
}

type lostJSON struct {
	File    string     `json:"file,omitempty" doc:"The copy that is kept"`
	Bytes   int64      `json:"bytes"`
	Samples int        `json:"samples"`
	From    *time.Time `json:"from,omitempty"`
	To      *time.Time `json:"to,omitempty"`
}

type costJSON struct {
	Metrics []countJSON `json:"metrics" doc:"Series by metric"`
	Pairs   []countJSON `json:"pairs" doc:"Series by label and value"`
	Labels  []countJSON `json:"labels" doc:"Values by label"`
}

type countJSON struct {
	Name string `json:"name"`
	N    uint64 `json:"n"`
}

// addHistory adds how the store of samples fares.
func (a *apiMux) addHistory() {
	add(a, op{id: "get-history", method: "GET", path: "/history", tag: "history", summary: "What is held of samples, who writes it, and what is wrong with it", right: access.View}, a.s.apiHistory)
	add(a, op{id: "get-appliance", method: "GET", path: "/appliance", tag: "history", summary: "How this program itself fares, part by part", right: access.View}, a.s.apiAppliance)
}

func (s *Server) apiHistory(context.Context, *struct{}) (*body[historyJSON], error) {
	l := s.lookAtHistory(time.Now())
	v := l.verdict()
	out := historyJSON{
		State: v.State, Reasons: []reasonJSON{}, LastSync: when(l.LastSync), Least: l.least, Series: l.Series, Limits: limitsJSON(l.limits),
		Appended: l.Appended.Appended, Rejected: byReason(l.Appended), Sources: l.apiSources(), Held: []heldJSON{}, Receives: l.apiReceivers(),
		SetAside: some(l.Stats.SetAside), Lost: []lostJSON{},
	}
	for _, r := range v.Reasons {
		out.Reasons = append(out.Reasons, reasonJSON{r.State, r.Text})
	}
	if l.ReadOnly != nil {
		out.ReadOnly = &readOnlyJSON{l.ReadOnlySince, readOnlyReason(l.ReadOnly)}
	}
	if l.SyncErr != nil {
		out.SyncErr = oneLine(l.SyncErr)
	}
	if l.roomErr == nil {
		out.Free = &l.free
	}
	for _, h := range l.held() {
		out.Held = append(out.Held, heldJSON{Name: h.Name, From: when(h.From), To: when(h.To), Blocks: h.Blocks, Bytes: h.Bytes, Samples: h.Samples})
	}
	if r := l.remote(); r != nil {
		out.Remote = &remoteReadJSON{URL: r.URL, State: r.State, Why: r.Why, LastAnswer: when(r.Last), Behind: r.Behind.Seconds()}
	}
	for _, x := range l.Stats.Lost {
		out.Lost = append(out.Lost, lostJSON{x.File, x.Bytes, x.Samples, when(x.From), when(x.To)})
	}
	out.Cost = costJSON{[]countJSON{}, []countJSON{}, []countJSON{}}
	if p := l.head.IndexPostingStats; p != nil {
		out.Cost = costJSON{counts(p.CardinalityMetricsStats), counts(p.LabelValuePairsStats), counts(p.CardinalityLabelStats)}
	}
	return reply(out), nil
}

func (l *historyLook) apiSources() []sourceJSON {
	out := []sourceJSON{}
	for i, x := range l.sources() {
		out = append(out, sourceJSON{x.Name, x.State, x.Why, x.Series, x.Appended, byReason(l.Sources[i].Appended)})
	}
	return out
}

func (l *historyLook) apiReceivers() []receiverJSON {
	out := []receiverJSON{}
	for _, x := range l.receivers {
		state, why := receiverState(x)
		out = append(out, receiverJSON{
			Name: x.Name, URL: x.URL, Protocol: x.Protocol, State: state, Why: why, Position: when(x.Position), Lag: x.Lag.Seconds(), Waiting: x.Waiting,
			Sent: x.Sent, Refused: x.Refused, Dropped: x.Dropped, Retries: x.Retries, CatchUpFrom: when(x.CatchUpFrom), CatchUpTo: when(x.CatchUpTo),
			LastError: x.LastError, LastErrorAt: when(x.LastErrorAt),
		})
	}
	return out
}

// byReason has each reason for which samples were left out.
func byReason(a tsdb.AppendResult) map[string]int {
	out := map[string]int{}
	for _, r := range rejections {
		if n := r.n(a); n > 0 {
			out[r.reason.String()] = n
		}
	}
	return out
}

func counts(in []index.Stat) []countJSON {
	out := []countJSON{}
	for _, x := range in {
		out = append(out, countJSON{x.Name, x.Count})
	}
	return out
}
