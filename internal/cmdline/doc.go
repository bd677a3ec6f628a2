// Package cmdline makes completion scripts and manual pages of a command line
// that kong knows, so that neither can disagree with --help.
package cmdline
