// Package shell draws what stands around every page: the app shell with
// navigation, top bar, tally and freshness clock, the wall shell for display
// screens, and the error page.
//
// Forms post to these paths of the shell itself: POST /logout; POST /theme
// with theme=dark|light and back=PATH (sets the cookie "theme").
package shell
