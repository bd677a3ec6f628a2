// Package matrix plays cells, each one combination of the values of some
// factors, in labs of their own, and keeps a record of each:
//
//	cells ──> [Run] ── a worker for each job ──> play ──> record
//	            ^                                           |
//	            +── done, for this commit ── [Book] <───────+
//
// A [Book] is a file of records, one a line. A run that was stopped goes on with
// it; what was built from other sources is played again. [Pairwise] chooses
// cells in which each two values of two factors meet.
package matrix
