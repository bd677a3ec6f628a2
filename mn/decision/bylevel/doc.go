// Package bylevel is the trigger by three levels of the signal, until package decision's engine takes its place.
package bylevel
