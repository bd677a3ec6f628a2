// Package apctl puts the keys of mobile nodes into access points before the nodes come (RFC 6252 section 7.7.1), so that a move
// to any of them is association and 4-way handshake only: one authentication serves all access points of a router.
//
//	             Controller
//	    +------------+------------+
//	  Local                     Remote == TLS 1.3, both sides' certificates ==> Agent -- Local
//	    |                       (docs/ap-agent.md)                                         |
//	control socket                                                                   control socket
//	of hostapd                                                                         of hostapd
//
// What an access point should have is kept here, with its end; what it has is made so:
//
//	Install    PMKSA_ADD; it replaces what the station had there, and touches no association
//	Remove     PMKSA_ADD of a random key for one second, as hostapd 2.10 has no removal of one station's; DEAUTHENTICATE of
//	           a station that is there by a key of ours: one that has done 802.1X (STA says so) stays
//	end        hostapd forgets the key by itself; DEAUTHENTICATE likewise, as RFC 5807 section 3.4 asks
//	came       AP-STA-CONNECTED of a station with a key at one: DEAUTHENTICATE tx=0 at the others, unless it came there later
//	Back       (hostapd was restarted, or we were) PMKSA_FLUSH, then PMKSA_ADD for all that are still valid
//	failure    of one of these for a station: again until it succeeds; refused: as Back
//	Close      PMKSA_FLUSH, if anything is there
//	PAA lost   the agent keeps keys for a while, then PMKSA_FLUSH
//
// PMKSA_FLUSH also takes what hostapd has cached of its own 802.1X: such a station authenticates in full once more, nothing is
// interrupted. Neither that nor PMKSA_ADD touches a station that is there (tried on simulated radios with hostapd 2.10; there,
// too: a return to an access point that keeps the station takes 1.1 s longer with protected management frames). The access point's BSSID and suite are compared with the configuration before a key goes there: the key is
// bound to the BSSID (RFC 5807 section 4.1).
//
// Covered: RFC 5807 sections 3.2 (a key goes to its access point only), 3.4 and 4.2. Not covered: access points without
// hostapd.
package apctl
