package admin

import (
	"time"

	"nocturne/views/shell"
	"nocturne/views/ui"
)

// History is the model of /admin/history: what the store of samples holds and
// how it fares. Filters in the URL: q and state, of the sources.
type History struct {
	shell.Page
	Verdict  Verdict
	Tiles    []Tile
	Query    ui.Query
	Pager    ui.Pager
	Sources  []Source
	Known    int // sources in all
	Held     []Held
	Facts    []ui.Property
	Remote   *RemoteHistory // nil unless what is asked is read elsewhere
	To       []Receiver
	SetAside []string
	Lost     []Lost
	Opened   time.Time // since when what is set aside is told
	Costs    []Cost
}

// Verdict says in one state how the history fares, and why.
type Verdict struct {
	State   ui.State
	Title   string
	Reasons []Reason // the worst first
}

// Reason is one thing that is not as it should be.
type Reason struct {
	State ui.State
	Text  string
	Href  string // of the part of the page with more about it; "" for none
}

// Tile is a figure above the tables.
type Tile struct {
	Label, Value, Unit, Hint string
	Share                    float64  // of a limit, from 0 to 1
	State                    ui.State // of the share; "" draws none
}

// Source is who appends. Counts are since the start.
type Source struct {
	Name     string
	State    ui.State
	Why      string // what the state says, in words
	Series   int
	Limit    int
	Appended int
	Rejected int
	Reasons  []Rejected // those that occurred
}

// Rejected counts samples that were left out for one reason.
type Rejected struct {
	Reason string
	N      int
}

// Held is what is held of samples at one resolution.
type Held struct {
	Name     string // as they came, or the width of their buckets
	Blocks   int
	Bytes    int64
	Samples  uint64    // in the blocks; 0 is not known
	From, To time.Time // zero: nothing is held yet
}

// RemoteHistory is the store elsewhere that samples are read from.
type RemoteHistory struct {
	URL    string
	State  ui.State
	Why    string
	Last   time.Time // of an answer
	Behind time.Duration
}

// Receiver is a store that samples are sent on to. Counts are since the start.
type Receiver struct {
	Name, URL, Protocol    string
	State                  ui.State
	Why                    string
	Lag                    time.Duration
	Position               time.Time // of the newest sample answered for
	Waiting                int64     // bytes
	Sent, Refused, Dropped int64
	Retries                int64
	From, To               time.Time // still to be read from the blocks
	Err                    string
	ErrAt                  time.Time
}

// Lost is a stretch of the log that could not be read.
type Lost struct {
	File     string
	Bytes    int64
	Samples  int
	From, To time.Time
}

// Cost is one table of what the series in memory are made of.
type Cost struct {
	ID, Title, About string
	What, Unit       string // heads of the columns
	Rows             []Share
}

// Share is a row of a Cost.
type Share struct {
	Name  string
	N     uint64
	Share float64 // of all series; negative where there is none
}
