// Package mip4 is the mobile node's side of Mobile IPv4 (RFC 5944) with a co-located
// care-of address, and the codec both sides use. It has no I/O: a [Client] is driven
// by (now, input) and answers with outputs and a deadline.
//
// # Registration (RFC 5944 sections 3.3, 3.4; UDP port 434)
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    Type = 1   |S|B|D|M|G|r|T|x|          Lifetime             |  request
//	|    Type = 3   |     Code      |          Lifetime             |  reply
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                          Home Address                         |
//	|                           Home Agent                          |
//	|                 Care-of Address (request only)                |
//	+                     Identification (64 bits)                  +
//	|   NTP seconds                                                 |
//	|   fraction, least significant octet random                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| extensions for the peer: Type, Length, Data ...               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 32   |     Length    |             SPI               |
//	|             SPI               |     Authenticator ...         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// The authenticator covers everything before itself, SPI included. Algorithms:
// HMAC-MD5 (the default of RFC 5944) and HMAC-SHA2-256, untruncated.
//
// # Path-end markers (an experiment of this project, numbers of RFC 4064)
//
// When a binding moves, packets of the old path may still be under way while the new
// path delivers. Each sender ends the old path with a marker, and the receiver holds
// what comes by the new path until the marker, or until a deadline of its own.
// The request offers it, and the reply says whether it is done, by a skippable
// experimental extension, so a peer that does not know it is not disturbed:
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Type = 255   |  Length = 10  | Sub-Type = 98 |O|  reserved   |
//	+                  Path identification (64 bits)                +
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// The path identification is chosen by the mobile node: the Identification of the
// first request of the registration that asks for the new path. Retransmissions carry
// other Identifications and the same path identification, so a lost request or reply
// does not confuse the two ends about which change a marker belongs to. In the reply
// it is that of the change which made the current path, and O says that there was an
// old path: the home agent ends its own direction with a marker and expects ours.
//
// A marker is a whole inner packet, sent inside IP-in-IP as the last one on the old
// path (an experimental message, RFC 4064 section 3, 255):
//
//	+-------------------------+---------------------+----------------------------+
//	| IPv4, protocol 17       | UDP 434 -> 434      | message, below             |
//	| up: home address -> HA  | up and down alike   |                            |
//	| down: HA -> home address|                     |                            |
//	+-------------------------+---------------------+----------------------------+
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Type = 255   | Sub-Type = 98 | 0 up, 1 down  |   reserved    |
//	|                          Home Address                         |
//	|                           Home Agent                          |
//	+                  Path identification (64 bits)                +
//	|  Mobile-Home Authentication Extension (type 32) over all this |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// # The client
//
//	            Register                       reply 0, 1
//	idle ----------------------> registering ---------------> bound --+
//	  ^                            |   ^  |                   |  ^    | 3/4 of the lifetime:
//	  |   denied, silent too long  |   |  | time-out: again,  |  |    | registering, same path
//	  +----------------------------+   |  | new Identification|  +----+
//	  |                                +--+ 133: clock set,   |
//	  |                                     once more at once |
//	  +------------- Deregister, reply; lifetime over --------+
//
// Where several care-of addresses are to be bound the request has the S bit. It offers
// markers for the address where the mobile node is, and then the others are asked for,
// one after the other, without: our home agent sends to all of them, with numbers, and
// takes packets as from the first (package internal/ha).
//
// A registration that fails leaves the binding that was there before, with its
// lifetime running.
//
// # Covered
//
// RFC 5944: 1.8 and 1.9 (unknown extensions below 128 discard the message, from 128 on
// they are skipped), 3.3, 3.4, 3.5.1, 3.5.2, 3.6.1 (co-located care-of address,
// S bit), 3.6.2, 3.6.3, 5.7.1 (time stamps). RFC 3024: T bit, codes 137 to 139.
// RFC 4064: sections 3 and 4.3.
//
// # Deviations
//
// 3.6.3 demands a second between requests. The first time-out is configurable because
// a registration here happens within a handover; the default is the second. After
// code 133 one request goes out at once. 5.7.1 demands rising Identifications; after
// 133 the home agent's clock counts, also where it is behind.
//
// # Not covered
//
// Foreign agents (so replies with codes of one must be authenticated as well), agent
// discovery, dynamic home agent and home address assignment, nonces (5.7.2), minimal
// and GRE encapsulation, NAT traversal (RFC 3519).
package mip4
