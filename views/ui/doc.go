// Package ui holds the parts every page is made of: states as shape, word and
// colour, tables whose filter and order live in the URL, timelines, charts and
// sparklines. It judges nothing: it draws what a view model says.
package ui
