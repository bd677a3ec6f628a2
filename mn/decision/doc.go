// Package decision says when to move, where to, and how far to prepare. It is pure: samples of the signal go in, one decision
// with its reason comes out, the same for the same samples.
//
//	signal        the present point's, dBm, averaged over Window
//	  |
//	look   -----  below: other points are looked for, and the networks of the best are prepared, as far as there is time and
//	  |           they are likely; below for Dwell: a point of the same network that is better by Margin is moved to (a roam)
//	leave  -----  below: the best is prepared to the end; below for Dwell: handover to it
//	  |
//	lost   -----  below: the link carries nothing
//
// accept, above leave, is what another point must have, and it must be better by Margin, cost, load and history taken in: that is
// the hysteresis. What failed rests, longer each time. A return soon after a move counts as ping-pong; margin and dwell are
// greater for a while then, and packets are wanted at both places. Styles adapt the levels, each in its way: see view.go.
//
// RFC 6252 leaves the decision to the node (section 6.3); IEEE 802.21 calls the two upper levels Link_Going_Down.
//
// Covered: sections 5 and 7.2 (several candidates, one target), appendices C.1 (margin, dwell, averaging, location, history), C.4
// (how far each is prepared) and C.6 (n*RTT + Tpsk + Tconf against the time left). Not covered: what is done about a decision,
// which is package mn's.
package decision
