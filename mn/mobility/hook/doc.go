// Package hook has any mobility protocol follow the node: it calls an executable
// with a JSON object on its standard input to bind, refresh and unbind a care-of
// address, and reads the answer from its standard output. docs/hook.md documents
// both for those who write one.
//
// The executable runs as the daemon does, without a shell, in a process group of its
// own, with an environment of two variables. It is killed, with its children, when
// its time is over; and when the daemon dies, however that does.
package hook
