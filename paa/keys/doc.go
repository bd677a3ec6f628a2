// Package keys holds the MPA security association: what is derived from a
// session's MSK, and a type for secrets that does not print and clears itself.
//
//	MSK (RFC 3748; EAP, 64 octets)
//	 |
//	 +-- PANA_AUTH_KEY = prf+(MSK, "IETF PANA" | I_PAR | I_PAN | PaC_nonce | PAA_nonce | Key_ID)
//	 |                                                          RFC 5191 section 5.3
//	 +-- PANA_PAC_ENCR_KEY, PANA_PAA_ENCR_KEY = prf+(MSK, "IETF PANA PaC Encr", "IETF PANA PAA Encr" | as above)
//	 |                                                          RFC 6786 section 3
//	 +-- MN-CA = prf+(MSK, "openmpa MN-CA" | SID | Key-Id | identity of the configuration agent)
//	 |    +-- seals configuration messages
//	 +-- PEMK = prf+(MSK, "IETF PEMK" | SID | Key-Id | EPID)   RFC 5807 section 3, one for each access point
//	 |    +-- PMK of 802.11: its first 32 octets
//	 +-- MN-AR = prf+(MSK, "openmpa MN-AR" | SID | Key-Id | identity of the access router)
//	      +-- seals tunnel messages
//	      +-- ESP keys = prf+(MN-AR, "openmpa ESP" | nonces | SPIs), fresh for each tunnel
//
// SID and Key-Id are 4 octets in network order. PANA's own keys and PEMK use the
// session's PRF, everything else prf+ over HMAC-SHA2-256. A new Key-Id (re-authentication) changes all of them.
//
// A sealed message (Sealer) is
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 direction: 1 to router, 2 to node             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 counter, from 1, grows with each              |
//	|                            message                            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          AES-256-GCM ciphertext and 16-octet tag ...          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// where the first 12 octets are the nonce, and each direction has a key of its
// own: prf+(key, "openmpa seal" | direction).
//
// Covered: RFC 7296 section 2.13 (prf+), RFC 5191 section 5.3 (PANA_AUTH_KEY) and
// section 5.4 (AUTH with it), RFC 4868 and RFC 2404's untruncated SHA-1 form
// (transform 7), RFC 6252 sections 6.2 and 6.3 (MN-CA, MN-AR), RFC 4106 section
// 8.1 (salt behind the key), RFC 5807 section 3 (PEMK; not its name, 3.1), IEEE
// 802.11-2020 section 12.7.1.3 (PMKID), RFC 6786 section 3 (PANA encryption keys).
package keys
