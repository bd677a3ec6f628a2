// Package config reads the daemons' YAML files strictly.
//
// A file is one YAML document. [Load] fills a struct from it and refuses what
// the struct does not know: unknown keys (with the nearest known one), keys
// twice, values of another kind, a fraction where a whole number belongs,
// anchors, aliases and tags, a second document. It does not stop at the first
// mistake: every mistake comes back, each with file, line, column and an
// excerpt:
//
//	mn.yaml:4:10: dad.probe-wait: "1" is no duration: expected a number with a unit, such as 200ms, 1s or 10m
//	   3 | dad:
//	>  4 |   probe-wait: 1
//	                    ^
//
// # Struct tags
//
// Fields are matched as by goccy/go-yaml: the yaml tag's name, else the json
// tag's, else the lower-case field name; "-" hides a field, ",inline" spreads a
// struct's keys over its parent. Two options are ours:
//
//	Node string `yaml:"node,required"`   // absent or empty is a mistake
//
// # Hooks
//
// A type whose pointer has SetDefaults() gets it called before its keys are
// read, outer structs first, also inside lists and maps and for sections that
// the file leaves out. A type with Check() error gets it called once the whole
// file has been read without mistakes, inner values first, but not for sections
// left out; Check may fill in what depends on other keys. It points at the key
// it complains about with [At] or [Errorf].
//
// A struct whose pointer has Scalar(text string) error may be written as one scalar instead of keys, and gets its text.
//
// # Values
//
// [Duration] (200ms, 10s, 1h30m), [Bytes] (512, 64KiB, 8MiB), [BitRate] (54Mb/s),
// [HexBytes], [Addr], [Prefix], [AddrPort], and three kinds of file names: [File] (read by
// the daemon, must exist), [Path] (made by the daemon: sockets, state) and
// [SecretFile]. Relative names are relative to the folder of the configuration
// file, not to the working directory.
package config
