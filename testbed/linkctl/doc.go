// Package linkctl moves a node's link from one point of attachment to
// another and tells when the link went and when it came.
//
// A link-layer handover in the lab is the node's veth leaving one bridge and
// joining another:
//
//	attach P:   lost                                        up
//	             |                                           |
//	             |-- link down, leave bridge, join P's ------|-- link up
//	             |<------------------ gap ------------------>|
//
// "lost" is taken just before the link is asked to go down, "up" just before
// it is asked to come up, so that neither favours the one who is measured;
// the gap between them is slept to the microsecond. Both are recorded on the
// monotonic and on the wall clock; kernel time stamps of received packets
// are on the latter.
//
// A mobile node gives its orders over a Unix stream socket, one JSON object
// a line in each direction:
//
//	{"op":"status"}                     {"ok":true,"point":"poa-b1"}
//	{"op":"attach","point":"poa-a1"}    {"ok":true}
//	                                    {"ok":false,"error":"..."}
//
//	{"op":"signal"}                     {"ok":true,"point":"poa-b1","signal_dbm":-61.5,"loss":0,"rate_mbps":54}
//	{"op":"seen"}                       {"ok":true,"seen":[{"point":"poa-a1","signal_dbm":-70,"age_ms":20}]}
//
// "ok" says that the order was carried out, as an access point's association
// does; whether the link came up is for the node to see on its interface. A
// node that is attached nowhere has the empty point.
//
// The last two are answered where there is a field of signals, see [Controller.SetAir];
// it can cut the link, too.
//
// For tests of failure a controller can be told that a point of attachment
// is dead (the order is carried out, the link never comes up) or refuses
// (the link is gone and the answer is an error): [Controller.Fail].
package linkctl
