// Package decision says when to move, and where to. It is pure: samples of the signal go in, one decision with its reason comes
// out, the same for the same samples.
//
//	signal        the present point's, dBm
//	  |
//	look   -----  below: other points are looked for, and the best other network that is at accept or above is prepared;
//	  |           below for the dwell time: a point of the same network that is better by Margin is moved to (a roam)
//	leave  -----  below for the dwell time: handover to a prepared network that is at accept or above
//
// accept is above leave, so a move there and back needs the signal to change by as much at both: that is the hysteresis. A signal
// between look and look+Margin leaves things as they are. What failed rests, longer each time.
//
// RFC 6252 leaves the decision to the node (section 6.3); IEEE 802.21 calls the two upper levels Link_Going_Down.
package decision
