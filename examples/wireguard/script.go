// Package wireguard is the example of a hook: a shell script by which a WireGuard
// tunnel follows the node. The lab runs it as it is installed.
package wireguard

import _ "embed"

// Script is the executable.
//
//go:embed wireguard
var Script []byte
