// Package replay plays a trace (mn/decision/trace) again: with the policy that it was recorded with, to see that the engine decides as
// it did then, and with any other, to see what that would have done there.
//
//	trace ---> Scene ---> Again   the engine is told what it was told: the same decisions come out
//	                 `--> Play    a virtual node (mn/decision/virtual) goes through what was in the air, with another policy
//
// What was in the air where nobody listened is not known. Between two readings of a point that are at most Gap apart its signal is
// taken to have changed evenly; after the last one it is there for decision.Fresh. Where nobody looked around at all it is taken to be there
// until somebody does. So a trace tells most of other policies where the
// recorder looked around all the time; mpa-mn --record does so now and then.
//
// The same trace, policy and seed give the same result.
package replay
