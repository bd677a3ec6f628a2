// Package page writes results of the lab as one HTML page, which opens without
// a network: style and pictures are in it, and it refers to nothing else.
package page
