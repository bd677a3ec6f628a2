// Package peers runs other people's servers in a lab: FreeRADIUS in the place
// of mpa-aaa, freeDiameter between the routers and mpa-aaa, Kea in the place of
// the lab's own DHCP servers, and radvd, which advertises routers.
//
// None knows of its package's configuration: all they read is one file in
// the lab's run directory, and all they write is beside it.
//
//	NAME.conf   configuration, written here
//	NAME.log    what the server says
//	NAME.csv    Kea: leases
//	NAME.ctl    Kea: control socket
//	NAME.*.pid  of each; only radvd's is looked at
//
// A server is ready when it has answered a real request, sent from where its
// clients are: FreeRADIUS an Access-Request by an Access-Challenge of EAP,
// Kea a relayed DHCPDISCOVER of each network by an offer, or an
// Information-request by a reply. radvd is ready when it says so.
//
// What they are asked for are 3.2 of FreeRADIUS and 2.2 of Kea, as Debian 12
// has them.
package peers
