//go:build !race

package vhandover

const raceEnabled = false
