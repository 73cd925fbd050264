// Package auth draws the pages before a session exists.
//
// Forms: POST /login with name, password and next; POST /setup with token,
// name, password and again.
package auth

import "nocturne/views/shell"

// Login is the model of the sign-in page.
type Login struct {
	shell.Page
	Name  string // kept after a refused try
	Next  string // path to go to afterwards
	Fault string // why the last try was refused, never which half was wrong
}

// Setup is the model of the one-time page that makes the first administrator.
type Setup struct {
	shell.Page
	Token string // from the link
	Name  string
	Fault string // the form's fault
	Spent bool   // the link was used, is wrong, or somebody exists: no form
}
