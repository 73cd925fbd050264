// Package certs is where the listener's certificate comes from: from two files
// that somebody else keeps, from an ACME authority, or made here and signed by
// itself.
//
// A Source holds one certificate for all names. A new one takes its place
// without a pause, for the connections made from then on; one that is no good
// never takes the place of one that is. What is wrong is logged once, counted,
// and stays in Status until it is right.
//
// What is made here stands in one folder, each file 0600 and replaced by
// rename once its bytes are on the disk:
//
//	self-signed.pem    key and certificate
//	acme/account.pem   the key that the authority knows this machine by
//	acme/issued.pem    key and certificates, the leaf first
package certs
