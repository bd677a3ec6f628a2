// Package paa runs the PANA authentication agent of an access router: sessions
// of package pana, EAP carried to the AAA backend, the keys MN-CA and MN-AR
// derived from each MSK (RFC 6252 §6.2), and the sealed messages of package
// notify handed to the router and back.
//
//	PaC --PANA--> [pana.Server] --EAP--> [aaa.Backend] --> RADIUS
//	                   |  Opened: MSK -> MN-CA, MN-AR, then cleared
//	                   v
//	               Handler (the access router: leases, tunnels, buffers)
//
// Covered: RFC 5191 and 5873 as package pana has them, RFC 6252 §6.3 step 1.
// Elsewhere: the enforcement point (package par), first attachment by 802.1X (hostapd's).
package paa
