package shell

import (
	"time"

	"nocturne/views/ui"
)

// Page is what every page knows. Each page's view model embeds it.
type Page struct {
	Title  string    // of the document and the page's heading
	Path   string    // of the request, without query: marks the place in the navigation
	User   string    // signed-in person, "" for nobody
	Role   string    // administrator or viewer
	Build  string    // build id; a differing one in the live stream asks for a reload
	Now    time.Time // the server's time of rendering; ages are counted from it
	Tally  ui.Tally  // of all items
	Alerts int       // open alerts, beside the navigation entry
	Theme  string    // dark (also "") or light, from the cookie "theme"
	Notice string    // said once above the content, such as "Alert acknowledged"
	Error  string    // same, for what went wrong
	Topics []string  // live topics of the page; "status" is always added
	// ReadOnly says since when and why samples or records are not taken, "" while they are:
	// a banner on every page, which the live stream renews.
	ReadOnly string
	Lab      bool // the data come from the simulated hall: said in the top bar
}

// Administrator says whether the page may offer what changes things.
func (p Page) Administrator() bool { return p.Role == "administrator" }

// Fault is the model of an error page.
type Fault struct {
	Page
	Status int    // HTTP status
	Text   string // a deliberate sentence for people
	Hint   string // what to do now
}
