// Package listen is the way in over HTTP: a Server on one address whose
// connections are bounded in number and in time, so that clients that are slow,
// silent or many cost the others nothing.
//
// A request's header and body must come, and each piece of an answer must be
// taken, within a time. At the bound of connections, in all or of one address,
// the connection that was idle longest makes room; where none is idle the new
// one is closed at once. When the process has no file descriptor left, idle
// connections are closed, the log says so, and accepting goes on.
package listen
