// Package picture draws what the lab measured: handovers with every packet and
// phase, and how figures are distributed over many handovers.
//
//	columns: handovers, or one at two scales
//
//	                   title                title
//	authentication     ====                     ====      lanes: phases by the timeline
//	no link                 ||              ||
//	to the node        . . .||. . .         . . .||x x . .   packet number over time
//	from the node      . . .||. . .         . . .||x x . .
//	                   ms after the link went
//
// Colours are from the set of Okabe and Ito, which people with any kind of
// colour vision tell apart; forms say the same once more. A picture is SVG, with
// text that stays text, and PNG.
package picture
