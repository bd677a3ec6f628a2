// Package wireshark tests docs/pana.lua, the dissector of PANA for Wireshark, by tshark.
package wireshark
