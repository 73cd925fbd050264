package admin

import (
	"nocturne/views/alerts"
	"nocturne/views/shell"
	"nocturne/views/ui"
)

// Appliance is the model of /admin/appliance: how the program itself fares.
type Appliance struct {
	shell.Page
	Verdict Verdict
	Tiles   []Tile
	Parts   []Part
	Alerts  []alerts.Row // about the program itself
	Charts  []ui.Chart   // its vital signs, the last minutes by the second
	Item    ui.Ref       // its own item, with more of them
}

// Part is one thing that the program lives by.
type Part struct {
	Name  string
	State ui.State
	Text  string
	Href  string // of the page with more about it; "" for none
}
