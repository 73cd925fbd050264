// Package web is the HTTP side: pages, JSON API and live stream. It turns what
// the domain packages say into view models and judges nothing itself; the state
// of an item is what alerting.Engine.Status says.
//
// Every request passes the same stages: limits, security headers, protection
// against cross-origin writes, authentication by session cookie or bearer
// token, the right that the route names, and the handler. Errors that handlers
// return become an HTTP status in one table (errors.go).
package web
