// Package notify is the codec of the configuration and tunnel management
// messages that a mobile node and an access router exchange inside PANA
// notifications (RFC 5191 §4.3: PNR and PNA with the P bit), and their sealing.
//
// RFC 6252 §6.3 asks for them and leaves their form open. They ride in vendor
// AVPs; PANA's AUTH protects the datagram hop, the seal binds the content to the
// configuration agent (MN-CA key) or to the access router (MN-AR key), which
// need not be the PAA:
//
//	vendor AVP 1  Identities   PAR[C] only, in clear under AUTH: CA and AR names
//	vendor AVP 2  for the CA   AEAD(MN-CA, message), aad = session id | AVP code
//	vendor AVP 3  for the AR   AEAD(MN-AR, message), aad = session id | AVP code
//	vendor AVP 4  Reason       failing PAR[C] only, in clear: why the router could not ask
//
// The Reason is 1 to 200 octets of printable ASCII for people to read. There is
// no key yet that could sign it, so anybody on the path can write it: the node
// shows it as the router's words, marked as not authenticated, and decides
// nothing by it. What the AAA server itself has to say comes by EAP.
//
// A message before sealing, network order:
//
//	0        1                  17
//	+--------+------------------+----------------------------------+
//	| kind   | handover id (16) | fields: type(1) length(2) value  |
//	+--------+------------------+----------------------------------+
//
//	kind  name            key    direction  means
//	 1    ConfigRequest   MN-CA  MN to CA   lease an address for me (RFC 6252 §7.3.1)
//	 2    ConfigReply     MN-CA  CA to MN   the lease, or why there is none
//	 3    TunnelRequest   MN-AR  MN to AR   make a tunnel (§7.4)
//	 4    TunnelReply     MN-AR  AR to MN   its SPI and nonce, or why not
//	 5    TunnelDelete    MN-AR  MN to AR   delete it, I do not come
//	 6    SwitchBack      MN-AR  MN to AR   I am back where I was: deliver through the tunnel again
//	 7    Arrival         MN-AR  MN to AR   I am on your link (rides in the activating ping, RFC 5873)
//	 8    Report          MN-AR  AR to MN   the router's record of this handover
//	 9    LinkKeysRequest MN-CA  MN to CA   put keys for me into your access points (RFC 6252 §7.7.1)
//	10    LinkKeysReply   MN-CA  CA to MN   which have one, until when, or why none has
//	11    Follow          MN-AR  MN to AR   my previous router has forwarded all: now what you hold
//	12    Deliver         MN-AR  MN to AR   keep copies (§7.6.2), or bicast (§6.3 step 4), until I go
//	13    DeliverReply    MN-AR  AR to MN   done, or why not
//	14    RekeyRequest    MN-AR  MN to AR   a successor of the tunnel's security association
//	15    RekeyReply      MN-AR  AR to MN   its SPI and nonce, or why not
//	16    RekeyDue        MN-AR  AR to MN   limits of mine are near: ask for a successor
//	17    Entrust         MN-CA  MN to CA   my own lease of your link is yours to give back (RFC 8415 §18.2.7)
//	18    NeighboursRequest  MN-AR  MN to AR   which networks are around (§7.1)? A part of the answer
//	19    NeighboursReply    MN-AR  AR to MN   that part, or that nothing has changed
//	20    NeighboursChanged  MN-AR  AR to MN   there is another answer now
//
// The answer about the neighbourhood is longer than a datagram: it is fetched part by part, a request each, so that nothing else
// in the session waits for more than one of them. Its revision is its hash: parts of two answers are never put together, and a
// node that has it is told so in one reply. network.go has the form of a network.
//
// Unknown fields are skipped, a field that is missing or of the wrong size makes
// the message invalid, a field given twice too.
package notify
