// Package views holds what people see: templ components, one view-model struct
// a page, and the static assets. It is a leaf: it draws what a model says and
// judges nothing.
//
//	shell      around every page: navigation, counters, clock; walls; faults
//	ui         parts: states as shape, word and colour, tables, timelines, charts
//	dash alerts devices wall jobs reports inventory admin auth   the pages
//	static     style, scripts, type and icons under content-hash names
//
// Live updates follow attributes: an element with data-item="device/leaf1"
// takes the item's state as data-state; data-tally="critical" takes a counter;
// an element with data-live-refetch and an id is taken anew from the page's
// own URL when the stream says that something changed.
package views
