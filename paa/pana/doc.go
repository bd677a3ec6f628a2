// Package pana is the Protocol for Carrying Authentication for Network Access
// (RFC 5191) with pre-authentication (RFC 5873) and encryption of AVPs (RFC 6786):
// the codec, the machines of the PaC and of the PAA (RFC 5609) without I/O, and
// Client and Server, which run them over UDP.
//
// # On the wire
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Reserved            |  Message Length, with header  |
//	|R S C A P I E                  |         Message Type          |
//	|                      Session Identifier                       |
//	|                        Sequence Number                        |
//	+- - - - - - - - - - - - - - AVP  - - - - - - - - - - - - - - - +
//	|           AVP Code            |V            AVP Flags         |
//	|  AVP Length, Value only       |           Reserved            |
//	|                    Vendor-Id, when V is set                   |
//	|  Value, padded with zeros to a multiple of 4 ...
//
//	PCI 1: PaC asks for a PAR[S]       PTR, PTA 3: termination
//	PAR, PAN 2: authentication         PNR, PNA 4: A re-authentication, P ping
//
// # A pre-authentication and the arrival
//
//	PaC                                                     candidate PAA
//	 | PCI[E] sid=0 seq=0 -------------------------------------> | keeps nothing
//	 | <-------------- PAR[SE] sid,seq=hash {algorithms offered} |
//	 | PAN[SE] {one PRF, one integrity} -----------------------> | session begins: EAPStart
//	 | <--------------------------------- PAR[E] {Nonce, EAP}    |
//	 | PAN[E] {Nonce, EAP} ------------------------------------> | EAPResponse
//	 |   ...                                                     |
//	 | <-- PAR[CE] {Result, EAP, Lifetime, Key-Id, ours}, AUTH   |
//	 | PAN[CE] {Key-Id}, AUTH ---------------------------------> | Opened, both sides
//	 | <-> PNR[PE] {vendor AVPs}, AUTH / PNA[PE], AUTH           | Notified, NotifyDone
//	 |   (moves)                                                 |
//	 | PNR[P] {vendor AVPs}, AUTH, from the new address -------> | AddressChanged, Activated, Notified
//	 | <------------------------------------------- PNA[P], AUTH | serving from now on
//
// # States of the PaC
//
//	initial --Start, Await--> wait-paa --PAR with Nonce--> auth --PAR[C] success--> open
//	                           | PAR[S] -> PAN[S],                           |  ^
//	                           | any number of times                    PAR, Nonce  |  | PAR[C] success
//	 any but open: FAILED_SESS_TIMEOUT,                                      v  |
//	 PAR[C] failure, EAP error -> closed       open --> wait-reauth ------> reauth
//	 open: lifetime, PTR -> closed                PNR[A]        PNA[A]
//	 open, reauth --Terminate--> terminating --PTA--> closed
//
// # States of a session of the PAA
//
//	(nothing) --Initiate, or PCI with EAPInStart--> start --PAN[S]--> wait-eap or wait-pan
//	(nothing) --PAN[S]--> wait-eap --EAPReply, PAR--> wait-pan --PAN or PAR with EAP--> wait-eap
//	 wait-eap --success, PAR[C]--> wait-succ-pan --PAN[C]--> open
//	 wait-eap --failure, PAR[C]--> wait-fail-pan --PAN[C]--> closed
//	 open --PNR[A], Reauthenticate--> wait-eap ...         (re-authentication)
//	 wait-eap --EAPReply with Restart, PAR with Nonce--> wait-pan   (in a re-authentication)
//	 open --Terminate, PTR--> terminating --PTA--> closed
//	 any: FAILED_SESS_TIMEOUT or lifetime, no answer to a request -> closed
//
// A closed session answers exact duplicates of the last request for a while (a
// lost PTA), and does nothing else.
//
// # Decisions
//
// Where the RFCs contradict one another, or leave something open:
//
//   - Nonces travel in the first PAR of the PAA without S, and in its PAN. A PAR of
//     the PaC, which may come before with EAP in the PAR[S], carries none (RFC 5191
//     figure 1, RFC 5609).
//   - A PAR[S] with EAP, or sent on our own initiative, is repeated by timer and has
//     a session; the answer to a PCI has none, nor has [PAA.Invite], which its caller
//     repeats: what calls for it may be forged. When initiations cross, the PaC
//     answers all PAR[S], and the session in which it sends its nonce remains.
//   - A PAR of the PaC is taken after the PAN for ours, not before (RFC 5609 has it
//     stop our retransmission): a lost PAN costs a repetition, and no nonce is missed.
//     The PaC takes a PAR that follows its own for the answer to it.
//   - An EAP response that is not at hand goes in a PAR at once, and not in the PAN
//     after EAP_RESP_TIMEOUT (RFC 5609). EAP that repeats its request gets a PAR only
//     when the one before was answered: a number that nobody answers may not be skipped.
//   - Encryption (RFC 6786) hides EAP packets and lifetimes when both sides can. The
//     EAP packet of a PAR[C] stays outside, because the key comes with it; a peer's
//     that is inside is read all the same. RFC 6786 says nothing of requests and
//     answers of one side that use one number, and so one key stream: the PaC's first
//     number is at least 2^30 away from the PAA's.
//     A PAR[C] and its PAN[C] are encrypted, as they are signed, with the new key.
//   - Duplicates and pings above a rate are dropped, whoever sends them.
//   - MRC counts transmissions (RFC 5191 section 9), not retransmissions (RFC
//     5609): ten in all by default. An urgent start below IRT gets as many more as
//     it has doublings before IRT, so it does not give up earlier.
//   - A session in whose place its PaC has begun another has a REQ_MRD of three
//     seconds: as a rule nobody knows it any more.
//   - A PAR in state open begins a re-authentication (RFC 5609), although RFC 5191
//     section 5.5 lists PAR as unexpected in the access phase.
//   - A new MSK always makes a new key and a new Key-Id (RFC 5191 section 5.3),
//     although new_key_available() of RFC 5609 says no once there is one.
//   - PNR[P] is refused in the first authentication (RFC 5191), and answered in
//     re-authentication (RFC 5609; not among the unexpected ones of RFC 5191).
//     None is sent in re-authentication (RFC 5191 section 4.2), with one exception:
//     the activation, because section 5.6 wants a message from the new address
//     and the PaC has no other. An outstanding one pauses and is sent again under
//     the new key afterwards, with the same number.
//   - A request of the PaC under the new key answers the PAR[C] as the PAN[C]
//     would, which it proves to have been sent. A PAR[C] to an address that the PaC
//     has left could never be answered otherwise.
//   - Expected numbers advance after AUTH was verified. The PAA learns the PaC's
//     first number from its first request, and again from the first one under AUTH.
//   - A duplicate is answered to where it came from and moves no session; a new
//     message under AUTH moves it (section 5.6), and what is outstanding is sent
//     there at once. Before there is an SA the address is fixed.
//   - After a change of key the cached answer and the outstanding request get a new
//     AUTH; otherwise duplicates are answered octet for octet.
//   - E differing from the session's is discarded, but for the activating PNR[P].
//     While that is on its way the PaC takes either, and answers in kind. The PAA
//     clears E in what it has outstanding, and takes an answer to either form.
//     Activation is one-way and idempotent, and never happens without AUTH.
//   - PCI with E clear or set needs PAR[S] in kind; no fallback to a normal session
//     (RFC 5873 section 3), the timeout says why.
//   - An EAP packet that the EAP peer ignores is discarded with its message, where
//     RFC 5609 ends the session: one forged packet must not. When the EAP peer
//     fails, its last response still goes out, and the session closes with the PAR[C]
//     or after two seconds.
//   - Whoever is authenticated again may lose the AAA server in the middle, and EAP cannot
//     go on with another. RFC 5191 section 4.3 ends the session when a re-authentication
//     fails; this one has not: within its time it begins anew, by another PAR with a
//     Nonce, as any first one of a re-authentication under AUTH of the session
//     ([EAPReply.Restart]). A PaC that does not expect a second Nonce drops that PAR, and
//     the session ends for want of an answer: it is for PaCs that are known to be ours.
//     In a first authentication, where nothing is signed, a second Nonce is dropped.
//   - The lifetime does not end a re-authentication that has begun;
//     FAILED_SESS_TIMEOUT does (RFC 5609).
//   - A PAR[S] of another session reaches an open PaC when the PAA was restarted, or
//     from anybody: the PaC pings at once, every five seconds at most. A PAA sends one,
//     within the rate limit of PCIs, when a request under AUTH names a session that it
//     has not. So three seconds of silence end the session where each ping brings a
//     PAR[S], soon; other PAR[S] take nothing of the session's patience.
//   - A PAN[S] that proves its source takes the place of a session in its first authentication
//     when there is no other place: of the source that has most, rather one that has said no
//     more, and the oldest. A PCI, which proves nothing, takes nobody's.
//   - Sessions end at the end of their lifetime without PTR (RFC 5609).
//   - PTR in a re-authentication is accepted, as RFC 5191 section 5.5 has it.
//   - A Vendor-Id 0 under the V bit is malformed: it would disguise an IETF AVP.
//   - Notifications keep their order. An urgent one takes those before it along.
//
// # Covered
//
// RFC 5191 sections 4.1 to 4.4, 5.2 to 5.7, 6 to 9, 11.2 (stateless start); RFC
// 5609 sections 6 to 8; RFC 5873 sections 3 to 6; RFC 6786. Algorithms: PRF 2, 5, 6, 7,
// integrity 7, 12, 13, 14, encryption 1.
//
// # Not covered
//
// The relay (RFC 6345). Discovery by DHCP (RFC 5192) is the caller's, as mpa-mn's.
package pana
