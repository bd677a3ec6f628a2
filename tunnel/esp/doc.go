// Package esp seals and opens ESP packets in tunnel mode with AES-GCM or
// ChaCha20-Poly1305. It is a pure core: no sockets, no clock, no goroutines. Both
// directions work without an allocation per packet.
//
// An ESP packet as this package writes and reads it (RFC 4303 section 2,
// RFC 4106 section 3, RFC 7634 section 2):
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+ --+
//	|               Security Parameters Index (SPI)                 |   | AAD
//	+---------------------------------------------------------------+   | (8)
//	|                       Sequence Number                         |   |
//	+---------------------------------------------------------------+ --+
//	|                    Initialization Vector (8)                  |
//	|        = the sequence number, zero extended to 64 bits        |
//	+---------------------------------------------------------------+ --+
//	|                     inner packet (variable)                   |   |
//	~               +-----------------------------------------------+   | encrypted
//	|               |      Padding 1, 2, 3 (0-3)                    |   |
//	+               +-------------------------------+---------------+   |
//	|                               |  Pad Length   |  Next Header  |   |
//	+-------------------------------+---------------+---------------+ --+
//	|                                                               |
//	~              Integrity Check Value, 16 octets                 ~
//	|                                                               |
//	+---------------------------------------------------------------+
//
// The nonce is salt (4 octets, the tail of the key material) and IV.
// No nonce repeats under one key because the IV is the sequence number and the
// sequence number never cycles: Seal refuses with ErrSequenceExhausted instead.
//
// Over UDP (RFC 3948 section 2) the first octets of a datagram tell what it is;
// Classify reads them:
//
//	+--------+
//	|  0xFF  |                    one octet: NAT keepalive, ignored
//	+--------+
//	+--------+--------+--------+--------+
//	|    0   |    0   |    0   |    0   | ...    non-ESP marker: IKE
//	+--------+--------+--------+--------+
//	+--------+--------+--------+--------+
//	|     SPI, never zero (>= 256)      | ...    ESP
//	+--------+--------+--------+--------+
//
// The receiver's order of work is that of RFC 4303 section 3.4: form, replay
// check, integrity and decryption, window update (only now), padding check.
//
// Covered: RFC 4303 sections 2.1-2.6, 2.8 (combined mode), 3.3.2-3.3.3, 3.4.2-3.4.4,
// next header 59 (dummy packets); RFC 4106 sections 3-8.1 with 128, 192 and 256 bit keys and
// the 16 octet ICV; RFC 7634 sections 2 and 4 but for IKE; RFC 6479; RFC 3948 sections 2.1-2.3; lifetimes in packets and
// octets, soft and hard (RFC 4301 section 4.4.2.1); replacement before the end of a
// lifetime or of the sequence numbers (Rotation).
//
// Not covered: extended (64 bit) sequence numbers, ICVs of 8 and 12 octets,
// generation of traffic flow confidentiality padding (received TFC padding is
// left behind the inner packet, whose own length tells where it ends), transport
// mode, multicast SAs. Lifetime in seconds is the caller's: see Expire.
package esp
