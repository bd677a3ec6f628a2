// Package virtual is a mobile node without networks: it gives an engine samples of what could be heard, does in virtual time what the
// engine says, tells it what came of that, and counts.
//
//	          what is in the air             sample
//	caller ----------------------> Node -----------------> Engine
//	                                |  <-----------------
//	                                |      decision
//	     look       scans: what is seen is as old as the last one
//	     ladder     steps of preparations, each as long as its network takes, several networks at once; what is wanted no more goes back
//	     move       a time without a link; then what was not prepared has yet to be done; what stood at the last network is held for a return
//
// Below Lost nothing is carried: steps of preparations stand still, and after Gone the link is no more. A node that is attached nowhere
// goes where its engine says, and if that says nothing for Alone, to whatever it hears best, as a link layer does by itself.
//
// It is pure and deterministic. The simulator (testbed/sim) and the replay of a trace use it, so both judge a policy alike.
//
// RFC 6252: appendix C.1 (ping-pong), C.4 (what is prepared, how far), C.6 (the time it takes). Not covered: steps that fail, packets (what
// a buffer saves is taken as saved: a move to a network whose tunnel stands loses nothing), the load that nodes make for one another.
package virtual
