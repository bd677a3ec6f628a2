// Package mip6 is Mobile IPv6 (RFC 6275) without I/O: the codec, and what a mobile node,
// a home agent and a correspondent do.
package mip6
