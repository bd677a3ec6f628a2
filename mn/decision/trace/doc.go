// Package trace is a recording of what an engine was told and what it decided, to be played again.
//
// A trace is JSON Lines. The first line is its header, each other one a record:
//
//	{"trace":1,"node":"mn1","began":"2026-11-22T18:00:00Z","policy":{"style":"era","look_dbm":-65,...}}
//	{"at_ns":0,"know":{"networks":[...],"points":[...]}}
//	{"at_ns":100000000,"sample":{"here":1,"signal_dbm":-61,"seen":[{"point":2,"signal_dbm":-70,"age_ns":0}],"stands":[]}}
//	{"at_ns":100000000,"decided":{"action":"stay","code":"well",...},"words":"stays: ..."}
//	{"at_ns":300000000,"took":{"network":2,"depth":"authenticate","took_ns":130000000,"ok":true}}
//	{"at_ns":900000000,"moved":{"from":1,"to":2,"depth":"bind","chosen":true}}
//	{"at_ns":900000000,"failed":{...}}   {"at_ns":900000000,"rtt":{"network":2,"rtt_ns":20000000}}   {"at_ns":900000000,"lost":17}
//
// Times count from the engine's own beginning. What is not known is left out. Records that came too fast to be written are lost, and
// counted. A reader takes a trace from anybody: lines, records, networks and points are bounded; a last line that was cut off, as
// a kill leaves it, is no error; records of a kind that it does not know are stepped over.
//
// A trace has names of networks and points, places and times: where somebody was. It has no keys and no addresses.
package trace
