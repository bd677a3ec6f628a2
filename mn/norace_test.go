//go:build !race

package mn

// raceEnabled: everything takes several times as long as the timers of a departure or an
// arrival allow for, so that what is lost, or out of order, says nothing.
const raceEnabled = false
