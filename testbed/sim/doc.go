// Package sim compares ways to decide when to move: many nodes walk and drive over a map of cells, each with the real engine
// (mn/decision) and the virtual node (mn/decision/virtual), under virtual time.
//
//	map:   cells of networks, log-distance path loss, correlated log-normal shadows
//	 |
//	walk:  where a node is, ten times a second
//	 |
//	air:   what can be heard there                    one block of steps after the other
//	 |
//	 +---> node + engine of policy 1 ---> counts      the same air for each policy, so that
//	 +---> node + engine of policy 2 ---> counts      they are compared node by node
//	 :
//
// Signals: path loss by distance with an exponent, from 10 m on; shadows with a standard deviation in dB whose correlation falls to
// 1/e within a distance (Gudmundson, Electronics Letters 27, 1991), one field for each cell, fixed to the ground: who comes back finds
// them as they were. The field is separable: along diagonals the correlation falls faster, by the square root of 2 at most. Each
// sample has noise besides. Fast fading is not modelled: a receiver's average takes most of it.
//
// Not modelled: the load that nodes make for one another, interference, packets.
package sim
