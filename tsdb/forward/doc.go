// Package forward sends the samples of a store on to other stores by
// Prometheus remote write, and loses none.
//
// A Forwarder follows the store's own write-ahead log, for each receiver from a
// position of that receiver. The position is durable, and moves only over what
// the receiver has answered for:
//
//   - Accepted (2xx).
//   - Refused for what it holds (400, 409, 413 and every other 4xx not named
//     below): counted, said, and given up, as the protocol wants. Under
//     protocol 1 some receivers refuse a whole request for one sample; such a
//     request is sent again in halves until the samples that are to blame
//     stand alone, for a bounded number of requests.
//
// Everything else is tried again, with growing pauses of random length or
// after what Retry-After asks for: a connection that fails, 5xx, 429 and 408.
// 401, 403, 404, 405, 407 and redirects are tried again too, at the longest
// pause: they fault the address or the credential, not the samples, and those
// have to be there still when someone has mended it. A receiver that does not
// understand protocol 2 (415, or an answer that confirms nothing) gets
// protocol 1 from then on.
//
// The log holds late samples too, in the order of their arrival. It is cut as
// the store writes blocks. A receiver whose position has been cut away, or
// stands in a log that is not the one it was taken in (a repair, a restored
// backup), gets the time range that it may have missed from the blocks and the
// head, window by window, and then the log from where it begins. The range is
// exact but for what the store may take late, so samples may come twice; a
// receiver needs an out-of-order window at least as long as the store's to take
// them all. Progress in the range is part of the position.
//
// A receiver that has no position yet begins with what is appended from now
// on, and with as much of the past as Backfill says. One whose position cannot
// be read begins with everything held.
//
// For each receiver one round of samples is in memory, sent as several requests
// at once; samples of one series are never in two requests at once, so their
// order holds. Receivers share nothing but the labels of the log's series.
//
// # On disk
//
// Options.Dir holds NAME.0 and NAME.1 for each receiver, written in turn, so
// that a torn or damaged one leaves the other. Each is a line of JSON (type
// position) and its CRC-32C in hexadecimal, padded with spaces to 512 bytes.
package forward
