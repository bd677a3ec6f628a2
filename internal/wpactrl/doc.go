// Package wpactrl talks to wpa_supplicant and hostapd through their control sockets.
//
//	   Client                              daemon (/run/wpa_supplicant/wlan0, /run/hostapd/ap0)
//	own socket "cmd"   -- PMKSA_ADD ... -->
//	                   <-- OK ------------
//	own socket "ev"    -- ATTACH -------->
//	                   <-- OK ------------
//	                   <-- <3>CTRL-EVENT-CONNECTED - Connection to ...
//	                   -- PING ---------->   each second, for a daemon that went away
//	                   <-- PONG ----------
//
// Both are Unix datagram sockets: one datagram is one command, answer or event, at most 4,096 octets from the daemons. The
// daemon answers to the name our socket is bound to. That is a file, since an abstract name is not seen from another network
// namespace, in a directory of the client's own, which is locked: a client removes those whose owner died (SIGKILL) when it
// opens. The sockets are connected, so the kernel takes nothing from any other sender.
//
// A word "?" in a command stands for a key, which is put in when the command is sent and is in no error and no log. The
// daemons themselves do not log PMKSA_ADD unless told to by -K.
//
// What the daemons (2.10, tried) do that their users must know:
//
//	hostapd         one PMKSA a station: PMKSA_ADD replaces it, whatever PMKID and suite; there is no removal but PMKSA_FLUSH
//	hostapd         a lifetime below 1 s, or of 2^32 s and more, becomes 12 hours; DEAUTHENTICATE leaves the PMKSA
//	hostapd         PMKSA_ADD needs wpa=2 and an EAP suite in its configuration, else FAIL; its cache holds 1,024
//	wpa_supplicant  one PMKSA an access point, for all networks; at a PMKSA's reauthentication time it authenticates in full,
//	                even if it has gone to another access point since
//	both            PMKSA lists what fits in 4,096 octets, about 50 entries, and does not say that it was cut
//
// Neither protocol is in an RFC; see wpa_ctrl.h and ctrl_iface.c of the hostap project.
package wpactrl
