// Package mip6 is Mobile IPv6 (RFC 6275) without I/O: the codec, and what a mobile node,
// a home agent and a correspondent do. The machines are driven by (now, packet) and
// answer with whole IPv6 packets to send, with what is to be known, and with a deadline.
//
//	mobile node            home agent                     correspondent
//	  Client --- BU, HAO ----> Agent
//	         <-- BA, RH2 ---
//	  Route  === HoTI in tunnel ===> ----- HoTI ------------> Correspondent
//	         ---- CoTI ------------------------------------->
//	         <=== HoT in tunnel ==== <---- HoT --------------
//	         <--- CoT ---------------------------------------
//	         ---- BU, HAO; BA, RH2 --------------------------
//	         <--- data: HAO up, RH2 down -------------------->
//
// # Mobility header (RFC 6275 section 6.1; Next Header 135)
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Payload = 59  |  Header Len   |   MH Type     |   Reserved    |
//	|           Checksum            |  fixed part of the type ...   |
//	|  options: Type, Length, Data; padding where they must begin   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// The checksum is made of the addresses that upper layers see: the home address of a
// Home Address option (HAO) or type 2 routing header (RH2) in place of the care-of
// address. A message is authenticated by its last option:
//
//	home agent      type 9, RFC 4285: subtype 1, SPI, 96 bits of HMAC-SHA1 over
//	                care-of address | home address | message up to the SPI
//	correspondent   type 5, RFC 6275: 96 bits of HMAC-SHA1 under Kbm over
//	                care-of address | correspondent | message up to the authenticator
//
// both as if the checksum were zero. The care-of address of RFC 4285, which does not say
// which one, is that of the alternate care-of address option, else the source of the
// Binding Update; an acknowledgement has that of its update. For a correspondent it is the
// home address when the binding is deleted.
//
// # Path-end markers (an experiment of this project, numbers of RFC 5096)
//
// What they are for package mip4 says. Offer and answer are an option of Binding Update and
// acknowledgement, in front of what authenticates them:
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Type = 18    |  Length = 10  | Sub-Type = 98 |O|  reserved   |  begins at 8n + 4
//	+                  Path identification (64 bits)                +
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// A correspondent has no markers. It answers the offer of an update with O set where it takes
// packets from the care-of address before for a while: then they may go on from there until
// the update is acknowledged, and none passes the home agent.
//
// A marker is a whole inner packet without extension headers between the home address
// and the home agent, sent inside IPv6-in-IPv6 as the last one on the old path:
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Payload = 59  | Header Len 4  | MH Type = 11  |   Reserved    |
//	|           Checksum            | Sub-Type = 98 | 0 up, 1 down  |
//	+                  Path identification (64 bits)                +
//	|  padding, and option 9 (RFC 4285) over home agent | home      |
//	|  address | message up to the authenticator                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// # Client (registration with the home agent)
//
//	            Register                       BA < 128
//	idle ----------------------> registering ---------------> bound --+
//	  ^                            |   ^  |                   |  ^    | 3/4 of the lifetime,
//	  |   denied, silent too long  |   |  | time-out: again,  |  |    | refresh advice or
//	  +----------------------------+   |  | new sequence      |  |    | request, binding error:
//	  |                                |  | number and stamp  |  +----+ registering again
//	  |                                +--+ 135, 144: adopted,
//	  |                                     once more at once |
//	  +------------- Deregister, BA; lifetime over -----------+
//
// A registration names all care-of addresses that are to be bound: one, or several with
// binding identifiers (RFC 5648, with the O flag, so that it replaces what there is). When
// it fails after an update went out that nobody confirmed, the bindings from before are
// registered again.
//
// # Route (binding at a correspondent)
//
//	           Start               HoT and CoT            BA < 128
//	idle ---------------> testing --------------> binding ---------> up
//	                       ^   each test repeated  |   |             | 3/4 of the lifetime,
//	                       |   by itself           |   |             | refresh request:
//	                       +-----------------------+   |             | testing again, with the
//	                         136, 137, 138: tokens     | denied,     | tokens that are still good
//	                         forgotten                 | silent      |
//	           down <----------------------------------+-------------+ binding error, lifetime over
//
// A home token serves for 210 s, so a move soon after another needs no round trip by way
// of the home agent; care-of tokens of the last eight addresses are kept, too.
//
// # What recognises replays
//
// At the home agent time stamps (RFC 4285 section 6), or sequence numbers where the
// security association says so; either is remembered also while there is no binding. At the
// correspondent sequence numbers, which outlive the binding by the life of a nonce. What a home
// agent must know after a crash is [Kept].
//
// # Covered
//
// RFC 6275: 5.2, 6.1 to 6.4, 9.2 to 9.5, 10.3, 11.3.1, 11.3.3, 11.3.6, 11.6, 11.7, 11.8.
// RFC 4283 section 3.1. RFC 4285 sections 5.1, 5.3 and 6. RFC 5648: 4, 5.1 to 5.4, 5.7, 6.2.
// Statuses sent: 0, 4, 129, 130, 131 to 139, 144 to 146, 164 to 169 (164 to 168 as RFC 5648
// says; 169 always, since home and foreign link are not used together) and 174.
//
// # Deviations
//
// Updates to the home agent are protected by RFC 4285, not by IPsec. A home agent that goes
// by sequence numbers keeps the last one also without a binding, where RFC 6275 section
// 9.5.1 would take any: a mobile node that forgot it is told by status 135. A denial that
// nobody authenticated (131, 132, 139, Binding Errors) is sent at most ten times a second.
// The time-outs of 11.8 are the defaults; shorter ones may be set, because a registration
// here happens within a handover.
//
// # Not covered
//
// IPsec and the K bit, MN-AAA authentication (RFC 4285 section 5.2), dynamic home agent
// address and prefix discovery (so status 1 is never sent), several care-of addresses at a
// correspondent, IPv4 care-of addresses (RFC 5555: status 129), returning home with both links
// (RFC 5648 sections 5.5 and 5.6), mobility headers in fragments.
package mip6
