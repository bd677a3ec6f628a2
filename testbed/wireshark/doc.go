// Package wireshark has tshark look at what we say: its tests at docs/pana.lua, the dissector of PANA, and at our messages as they
// are built; [Look] at what a lab has said.
package wireshark
