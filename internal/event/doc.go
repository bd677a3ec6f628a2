// Package event is the one timeline every daemon writes: typed records of the
// phases of a handover, kept in a ring, logged, and offered to followers.
//
// Reports, mpactl explain and scenario assertions read these records; nothing
// parses logs.
//
//	         Begin(h, "tunnel")                     End(err)
//	         |                                      |
//	Span     o--------------------------------------o
//	         |            o Point(h, "tunnel", "marker sent")
//	         v            v                         v
//	ring    {begin}      {point}                   {end, duration, outcome, reason}
//	         |            |                         |
//	         +------------+-----------+-------------+
//	                                  v
//	         slog          Events(h)          Subscribe(since, buffer)
//
// A record as JSON:
//
//	{"seq":17,"time":"...","node":"a","handover":"<32 hex>","phase":"dhcp","kind":"end",
//	 "duration_ms":12.5,"outcome":"failed","reason":"no offer","attrs":{"server":"10.2.0.3"}}
//
// A field that does not apply is absent. An end always has its duration_ms, even
// when it is 0, and carries the attributes of its begin as well as its own, so it
// can be read alone. Records of other nodes enter by Import and get a sequence
// number of this recorder; their node and time stay.
//
// The recorder never blocks: a follower too slow for its buffer loses records,
// which Lost counts and a gap in the sequence numbers shows.
package event
