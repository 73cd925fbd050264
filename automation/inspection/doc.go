// Package inspection looks at the estate on a schedule and writes down what it
// found. An inspection is a list of checks, each a PromQL query with
// thresholds; its report says pass, warn, fail or not seen for every check and
// every series.
//
// Green never means unknown: a check whose query errs or returns nothing is not
// seen, and so is one that lacks a series it expects. A sample older than three
// polling intervals is none: Options.Lookback bounds it below PromQL's usual
// five minutes. An inspection that is not done in time has a report all the
// same, in which the checks that were left are not seen. Schedules are cron
// expressions in UTC, unless they begin with CRON_TZ=Zone.
//
// A report is stored once and never changed; its SHA-256 is an entry of kind
// "report" in the ledger, with subject "report/ID". An inspection whose time
// passed while nothing ran is made up for once at the next start.
package inspection
