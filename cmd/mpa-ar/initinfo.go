package main

import (
	"fmt"
	"net/netip"
	"strings"

	"openmpa/internal/enroll"
	"openmpa/internal/neighbourhood"
)

// Files by which a router of a site shows others who it is.
const (
	arKey         = "ar.key"
	arCertificate = "ar.pem"
	arAuthority   = "ar-ca.pem"

	infoPort = 7161 // TCP
)

// infoSection is the part of ar.yaml about the networks around: those of the site tell each other. The first router is asked by those that
// join, at an address; first is its network, and empty in its own file.
func infoSection(n enroll.Network, realm, first string, at netip.Addr) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "info:                                # what nodes are told of this network, and routers each other\n  operator: %s\n  points:\n", realm)
	for _, p := range n.Points {
		if p.BSSID.IsZero() {
			fmt.Fprintf(&b, "    - {name: %s}\n", p.Name)
			continue
		}
		fmt.Fprintf(&b, "    - {name: %s, bssid: \"%v\", ssid: %q, freq: %d, security: %s}\n", p.Name, p.BSSID, p.SSID, p.Freq, neighbourhood.WPAEAP)
	}
	fmt.Fprintf(&b, "  site: %s\n  ca: %s\n  certificate: %s\n  key: %s\n", realm, arAuthority, arCertificate, arKey)
	where := netip.AddrPortFrom(at, infoPort)
	if first == "" {
		fmt.Fprintf(&b, "  listen: \"%v\"\n", where)
	} else {
		fmt.Fprintf(&b, "neighbours:\n  - {name: %s, router: \"%v\", identity: %s}\n", first, where, routerName(first, realm))
	}
	return []byte(b.String())
}
