// Package snmpconn is how SNMP agents are reached: credentials, sessions, and
// reads that are either whole or say what is missing.
//
// It uses gosnmp for the messages and does not use gosnmp's walks, which take
// an error-status for the end of a table. [Session.Walk] asks for many columns
// a message, checks the error-status and the order of every object that comes
// back, bounds rows and time, asks again after answers that cannot be read,
// asks for less when an agent cannot answer so much, and goes on with GetNext
// where an agent ignores GetBulk. What it learnt of an agent it keeps for the
// next session: how much fits, whether GetBulk works, and for SNMPv3 the
// engine's ID, boots and time and the keys made for it.
//
// A [Pool] is safe for use by many goroutines; a Session belongs to one. Two
// sessions with one agent and credential wait for each other.
package snmpconn
