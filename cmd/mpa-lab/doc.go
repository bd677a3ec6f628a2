// Command mpa-lab runs the lab: a mobile node, two visited networks, home
// agent, correspondent, authentication and DHCP server, each in a network
// namespace of its own, and measures what happens when the node moves.
//
// People start it by the script testbed/lab, which builds what it needs.
package main
