// Package report turns the runs of a comparison into ratios, verdicts on the
// targets, and one Markdown page.
//
// It does not measure, start or read anything: all of it is a pure function of a
// Report, so that a page can be checked against a stored one. Nothing here is safe
// for concurrent use while the Report is still being filled.
package report
