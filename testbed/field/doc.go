// Package field is an emulated radio field: how loud each point of attachment is where the node is, at a time.
//
// A [Trace] has what was measured, or made up, at some times, and is straight between them. A [Walk] is a node that
// goes along a path on a map of cells:
//
//	signal = cell's power at 1 m - 10·exponent·log10(distance) + shadowing
//
// Shadowing is log-normal and, along the path, correlated as Gudmundson's: of two places d apart by exp(-d/D). It is of
// the place, not of the time: who goes back there hears the same. All is the same for the same seed.
//
// [Loss] and [Rate] are what a link at such a signal would be like; nothing here loses anything.
package field
