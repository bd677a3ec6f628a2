// Package radio configures hostapd and wpa_supplicant for a lab.
//
//	AP       one radio as access point, with one BSS or more ──> hostapd
//	Station  one radio as station, with one ESS or more      ──> wpa_supplicant
//	Mode     how a station that comes is authenticated (both ends need the same)
//
// Both are plain values: Command writes the configuration below Dir and returns
// how the daemon is started in the foreground, Answers asks its control
// sockets. Whoever keeps the lab's processes starts them, in the namespace that
// has the radio. Besides its own file each daemon makes one directory, for its
// control sockets:
//
//	Dir/Name.conf           configuration, with the RADIUS secret
//	Dir/Name.ctl/INTERFACE  control socket of a BSS or of the station
//
// The modes are those of RFC 6252, Figure 10, and two more of IEEE 802.11-2020:
//
//	Installed  802.1X, unless a PMK was installed at both ends before (section 7.7.1)
//	Full       802.1X at each association
//	PreAuth    802.1X through the present access point (12.6.10.2)
//	FT         802.1X once, then fast transition, over the air or the DS (13)
package radio
