// Package doctor examines a machine for what keeps openmpa's daemons from working, and says for each finding what to do.
// It changes nothing.
//
//	configuration   of each daemon that has one in /etc/openmpa: what its own --check says
//	machine         /dev/net/tun, interfaces, addresses, MTU, forwarding, reverse path filter, free space
//	others          who else has our ports or addresses, drops our packets (nftables), or manages our interfaces
//	                (NetworkManager, systemd-networkd, dhcpcd and the like)
//	link            who moves a node's link: the program that does, or wpa_supplicant, with its networks and what it sees
//	access points   whether hostapd runs those of a router, with the suite and BSSID of the configuration, and 802.1X
//	neighbours      whether the routers that a router asks which networks are around answer, and are who they should be
//	clock           whether it is kept right, fits the certificates, and agrees with the home agent's
//	path            whether RADIUS, DHCP, PANA and Mobile IPv4 answer from here
//
// The probes leave no trace that lasts: a RADIUS conversation and a DHCP offer that nobody goes on with expire, a
// registration with the identification 0 is denied, a PANA-Client-Initiation makes the agent keep nothing.
//
// Not covered: whether packets of ESP and IP protocol 4 pass; nobody answers those from a stranger. Rules of the old
// iptables (not iptables-nft) are not read, but what they drop on the path shows.
package doctor
