// Package link moves the mobile node between points of attachment and reports the state of the link.
//
// An Adapter hides the technology:
//
//	Supplicant  802.11 by wpa_supplicant; also a Keyer (PMKs before the move, RFC 6252 section 7.7.1) and a Scanner
//	Ethernet    a cable: one point, moved by hand
//	External    anything else, by a program of the operator's; a Scanner and a Meter where that program tells signals
//
// Find looks at an interface and says which of the first two fits. A point of Supplicant is a name of the configuration with a
// BSSID, or a BSSID itself.
//
// What Supplicant does by itself, once wpa_supplicant is heard:
//
//	it was started anew             gets the keys again that it was given; its network priorities are its own again
//	it is heard for the first time  loses keys of points of the configuration, which a run before may have left
//	it is associated, not keyed     is asked for the handshake after 300 ms or more: driver roams have come without one
//	it is associated, or connected  prefers that network, so that it does not go back by itself; a priority that others set is theirs
//	the adapter is closed           loses our keys and that preference
//
// The program that External asks, the controller, listens on a Unix stream socket and does the moving. One JSON object a line, in UTF-8, at most 4,096 octets with
// its newline; each request gets one answer, in order; the connection stays open and may carry many:
//
//	-> {"op":"status"}
//	<- {"ok":true,"point":"poa-b1"}         attached; "" or no point: not attached
//	-> {"op":"attach","point":"poa-a1"}
//	<- {"ok":true}                          the link layer has been told, or is attached
//	<- {"ok":false,"error":"no such point"} nothing was changed; the text is for people
//
//	-> {"op":"signal"}                      a controller may refuse this one and the next: then nobody tells signals
//	<- {"ok":true,"signal_dbm":-61.5,"loss":0.02,"rate_mbps":54,"point":"poa-b1"}
//	-> {"op":"seen"}                        at most 256 points, 32,768 octets
//	<- {"ok":true,"seen":[{"point":"poa-a1","signal_dbm":-70,"age_ms":120}]}
//
// These two have a connection of their own, so that no move waits for them.
//
// attach must do nothing when the point is the current one: a request whose answer was lost with the connection is asked once
// more over a new one. A controller refuses or leaves alone the link; it never leaves the node without the old one when it
// answers ok:false. An object with other fields, or an answer that does not fit its request, breaks the connection.
//
// Points are names of the configuration: 1 to 64 printable ASCII characters without space.
//
// Carrier is watched through the kernel, not through the controller: see osnet.WatchLink.
//
// RFC 6252 section 7.6 leaves the link-layer handover to the technology; nothing of it is on the wire here.
package link
