//go:build race

package mn

const raceEnabled = true
