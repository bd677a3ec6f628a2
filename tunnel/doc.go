// Package tunnel is the end of proactive handover tunnels (RFC 6252 section
// 7.4): ESP in UDP between a mobile node and an access router. An Endpoint owns
// any number of UDP sockets and tunnels; arriving packets find their tunnel by
// SPI, whichever socket they came through.
//
//	socket 10.1.0.100:4500      socket 10.2.0.100:4500
//	       | reader goroutine          | reader goroutine
//	       +------------+--------------+
//	                    | SPI
//	     +--------------+---------------+
//	  tunnel         tunnel          unknown: counted
//	     |
//	  open (replay, integrity) --> follow the peer's outer address
//	     |
//	     +-- next header 4  --> sane? allowed source? congestion mark --> Receive
//	     +-- next header 59 --> a marker of ours --> Marker; a dummy: counted
//	     +-- next header 253 --> shim header, sane? ... as 4 --> Numbered, if agreed on
//	     +-- other          --> counted
//
// Receive and Marker of one tunnel never run at the same time, and run in the
// order in which the packets of a socket arrived. That makes a marker the end of
// what was sent before it:
//
//	MN                                    access router
//	 | data, data, data                          |
//	 | Depart  --------------------------------> | holds downlink from here on
//	 | <---------------------  data, data, data  |
//	 | <-------------------------------  Departed|  nothing comes behind it
//	 | leaves the link                           |
//
// A marker is the payload of a dummy packet, which RFC 4303 section 2.6 tells
// every other implementation to discard. It is protected and numbered like data:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|            Magic: "MPAm" = 4D 50 41 6D                        |
//	+---------------+---------------+-------------------------------+
//	|  Version = 1  |     Kind      |   Reserved: 0, not looked at  |
//	+---------------+---------------+-------------------------------+
//	|                                                               |
//	|                   Handover identifier                         |
//	|                      (16 octets)                              |
//	|                                                               |
//	+---------------------------------------------------------------+
//	|                   Sequence of the marker                      |
//	+---------------------------------------------------------------+
//	|   of Resume: receipts (package flow, AppendReceipts)          |
//	|   octets behind these are padding and not looked at           |
//
// Kinds: 1 Depart, 2 Departed, 3 Resume, 4 Forwarded, 5 Native. Other versions and
// kinds are counted and dropped.
//
// A packet may carry its place in a numbering common to several tunnels: behind ESP
// comes the shim header of package flow, and the next header is 253 (RFC 4727 section 5).
//
// A security association is replaced while packets flow (esp.Rotation): both ends
// Offer the successor they have agreed on, and whoever had the answer first says Confirm.
//
// A reader that has several packets in hand corks the endpoint: what is queued leaves
// together, and whatever is sent otherwise leaves behind it.
//
// A tunnel that is not wanted any more may linger: what the peer had sent by a longer way
// than it has now is still delivered, in any order with what comes otherwise.
//
// Where both ends want it, packets go by IP in IP and unprotected, and all else by ESP: see Plain.
//
// Every packet is delivered, or counted under one Reason; Stats say which.
//
// Covered: RFC 3948 sections 2, 3.1.1 (case 2: the address assigned to the peer), 3.4,
// 3.5 and 4; RFC 4303 sections 2.6 and 2.7 (receipt of both kinds of padding); RFC
// 4301 section 5.1.2.1 for the DSCP, or RFC 2983 section 3.2; RFC 2003 sections 3.1 and 3.2; RFC 6040 section 4; lifetimes in seconds (RFC
// 4301 section 4.4.2.1), and rekeying before they end.
//
// Not covered: IKE on the same port (packets with the non-ESP marker are
// counted), ESP as protocol 50, IP in IP of IPv6, kernel XFRM.
package tunnel
