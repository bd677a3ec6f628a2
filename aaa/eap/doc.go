// Package eap has the Extensible Authentication Protocol: its packets, a peer and
// a server that authenticate each other by EAP-TLS, EAP-TTLS or PEAP, and the
// bookkeeping of a pass-through authenticator.
//
// # On the wire
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Code      |  Identifier   |            Length             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |  Flags L M S  |  TLS Message Length (if L)
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	   TLS Message Length           |  TLS data ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// Code is 1 Request, 2 Response, 3 Success, 4 Failure; the last two end after
// Length. From Type 13 (EAP-TLS; 21 EAP-TTLS, 25 PEAP) on the drawing shows these
// methods' octets: L, a total length follows; M, more fragments follow; S, start. The
// low bits of the flags are EAP-TTLS's and PEAP's version, here 0.
//
// # The parts
//
//	Peer            crypto/tls             Authenticator           Server
//	 |    <------- Request/Identity ------------o                      |
//	 o-- Response/Identity -------------------->o--------------------->|
//	 |    <------------- Request/EAP-TLS, S, from the AAA server ------o
//	 o-- Response: ClientHello ... -------------------------------->   |
//	 |    <------- fragments, each acknowledged by an empty packet --- o
//	 |    <------- TLS 1.3: application data 0x00 -------------------- o
//	 o-- Response, empty ------------------------------------------>   |
//	 |    <------- Success (nobody's to make up) --------------------- o
//
// crypto/tls runs on a goroutine of its own over a connection that hands over one
// flight at a time (lockstep.go): whoever calls Handle waits until TLS wants to
// read again or has ended, so Peer and Server behave like plain machines. The
// goroutine ends with the conversation, or with Close; a Peer or Server that
// is dropped without Close takes it along when it is collected.
//
// # States of the peer's method
//
//	idle --Start--> handshake --keys--> complete --EAP-Success--> success
//	                    |                   |
//	                    | TLS alert         | EAP-Failure (1.2 only: after the success
//	                    v                   v  indication of 1.3 it is discarded)
//	                  failed ----------> failure (EAP-Failure, or the lower layer says so)
//
// # Covered
//
// RFC 3748 sections 4 (packets), 5.1 Identity, 5.2 Notification, 5.3.1 Nak, 4.2
// (no canned Success, no Failure after success indications); RFC 4137 section 4
// (the peer's decisions, alternate indications); RFC 5216 sections 2.1, 2.3 (keys
// of TLS 1.2), 3; RFC 9190 sections 2.1.1 to 2.1.4, 2.1.6, 2.1.9, 2.2 (the server's
// name is always checked), 2.3 (keys of TLS 1.3), 2.5 (success indication); RFC 3579
// sections 2.1 and 2.2 (what a pass-through checks). RFC 5281 sections 7.6 (resumption),
// 8, 9, 10, 11.1, 11.2.4, 11.2.5; RFC 9427 sections 2 (keys and challenge with TLS 1.3),
// 4 (resumption); PEAP version 0 as Windows, wpa_supplicant, hostapd and FreeRADIUS have
// it, with its Result and Crypto-Binding TLVs ([MS-PEAP] sections 2.2.8 and 3.1.5.5);
// EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2-02), RFC 2759 sections 8.1 to 8.7, RFC
// 3079 section 3.4. An outer identity that says the realm only (RFC 7542 section 2.4).
//
// # Not covered
//
// Other methods, outside and inside (EAP inside EAP-TTLS, CHAP, MS-CHAP, GTC); PEAP
// versions 1 and 2; a new password in place of an expired one; a server without a
// certificate demand in EAP-TLS (RFC 9190 section 2.1.5); revocation (section 5.4); the
// resumption of TLS 1.2 by session identifier, which crypto/tls does not know; Session-Id
// and Method-Id, whose TLS 1.2 form needs randoms that crypto/tls keeps to itself;
// expanded types (RFC 3748 section 5.7), which are refused by a legacy Nak. The peer waits
// for an answer to its Finished before its password goes out, as RFC 9427 section 3 does
// not ask for and wpa_supplicant does: one round trip.
package eap
