package main

import (
	"fmt"
	"strconv"

	"openmpa/testbed/bed"
	"openmpa/testbed/scenario"
	"openmpa/testbed/topo"
)

// aaa is which authentication servers a lab has, and how they are asked.
type aaa struct {
	AAA       string `name:"aaa" enum:"embedded,freeradius,freediameter" default:"embedded" help:"The authentication server: embedded (mpa-aaa), freeradius, or mpa-aaa behind a relay, freediameter."`
	Transport string `name:"aaa-transport" enum:"auto,radius,radsec,diameter,diameter-tls" default:"auto" help:"What routers speak with it: radius, radsec, diameter or diameter-tls; auto is radius, and diameter with freediameter."`
	EAP       string `name:"eap" enum:"tls,ttls-pap,ttls-mschapv2,peap" default:"tls" help:"How the node logs in: with a certificate (tls), or with a password: ttls-pap, ttls-mschapv2, peap."`
	Roaming   bool   `help:"Have the routers ask a server of the visited networks' operator, which forwards to the node's home; --rtt-aaa is between the two."`
	Spare     bool   `name:"aaa-spare" help:"Have a second authentication server, for when the one that the routers ask is gone."`
	Down      int    `name:"aaa-down" placeholder:"N" help:"Kill the server that the router asks before it gets message N of each handover's authentication; with it comes --aaa-spare."`
}

func (f aaa) into(o *scenario.Options) error {
	if f.Down < 0 || f.Down > 100 {
		return fmt.Errorf("--aaa-down %d: expected the number of a message, from 1 on", f.Down)
	}
	if f.EAP != bed.EAPTLS { // else a scenario may take others
		o.EAP = f.EAP
	}
	o.AAA, o.Transport, o.Roaming, o.Spare, o.AAADown = f.AAA, f.transport(), f.Roaming, f.spare(), f.Down
	return nil
}

// transport is empty where the server decides.
func (f aaa) transport() string {
	if f.Transport == "auto" {
		return ""
	}
	return f.Transport
}

func (f aaa) spare() bool { return f.Spare || f.Down > 0 }

// links are those that come with the servers.
func (f aaa) links() (names []string) {
	if f.Roaming {
		names = append(names, topo.LinkVisited)
	}
	if f.spare() {
		names = append(names, topo.LinkSpare)
	}
	return names
}

// record is what was taken, for the results.
func (f aaa) record(m map[string]string) {
	m["aaa"], m["aaa-transport"] = f.AAA, f.Transport
	if f.EAP != bed.EAPTLS {
		m["eap"] = f.EAP
	}
	if f.Roaming {
		m["roaming"] = "true"
	}
	if f.spare() {
		m["aaa-spare"] = "true"
	}
	if f.Down > 0 {
		m["aaa-down"] = strconv.Itoa(f.Down)
	}
}
