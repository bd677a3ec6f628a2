// Package levels keeps the arrows between the rooms pointing down. Its test reads
// the imports of every file of the module and fails on
//
//   - a package that is in no room of the table,
//   - an import of a room of the same or a higher level,
//   - a third party's package outside its room,
//   - mn and par importing each other, whatever the level,
//   - testbed imported by anything but cmd/mpa-lab, itself and tests,
//   - a test helper (package xxxtest) imported by code that is not a test,
//   - a socket, file or process in a level 0 or 1 file that is not named runner*.go.
//
// The table is table.go. Tests (_test.go) may import any room and the libraries
// named for tests; a third party stays in its room there, too.
package levels
