//go:build race

package vhandover

const raceEnabled = true
