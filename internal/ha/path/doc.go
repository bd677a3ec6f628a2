// Package path is where one mobile node of a home agent is, for either family: packets
// go to its care-of address and come from there, in order also when that changes. It
// has no sockets and no headers; those are its [World]'s.
//
// # Order when a binding changes
//
// Down: one lock covers sending a packet and changing where to. The change sends the
// marker to the old care-of address, then sets the new one: nothing but the same marker
// again (20 and 60 ms later, should it be lost) can follow it on the old path, and
// nothing on the new path precedes it.
//
// Up: packets from the just-previous care-of address are taken for Config.OldPath. When
// the mobile node offered markers, packets from the new one wait in a [flow.Gate] until
// the marker came by the old path, or for Config.Wait from the first that waits.
//
// # Several care-of addresses
//
// While a mobile node is bound to several, and knows numbers, each packet goes to all of them for
// Limits.Copies, with one number, then to the first alone. The marker that ends these has the next
// number. It sends from the first, and may send from each of them; when another becomes the first,
// those before are the old path, as above.
//
// The locks of both directions are never held together, so a packet that goes from one
// mobile node to another is given to the path of that while the first is held.
package path
