package levels

// The levels. A room imports rooms of lower levels only; lab imports anything.
const (
	leaf    = iota // standard library only
	pure           // codecs and machines without I/O, except in files named runner
	adapter        // one outside thing each: a device, a kernel interface, a file format
	machine        // the adapters of one machine behind one seam
	service        // adapters joined
	daemon         // what a main runs
	lab            // mains, testbed
)

// rooms gives every room its level. A package belongs to the room with the
// longest path that is its own or above it.
var rooms = map[string]int{
	"internal/catest":  leaf,
	"internal/event":   leaf,
	"internal/inet":    leaf,
	"internal/levels":  leaf,
	"internal/manpage": leaf,
	"paa/keys":         leaf,

	"aaa/eap":                pure,
	"internal/acd":           pure,
	"internal/neighbourhood": pure,
	"mn/decision":            pure,
	"mn/mobility/mip4":       pure,
	"mn/mobility/mip6":       pure,
	"paa/pana":               pure,
	"tunnel/esp":             pure,
	"tunnel/flow":            pure,
	"tunnel/ipip":            pure,

	"aaa/diameter":     adapter,
	"aaa/radius":       adapter,
	"internal/cmdline": adapter,
	"internal/config":  adapter,
	"internal/osnet":   adapter,
	"internal/state":   adapter,
	"internal/wpactrl": adapter,
	"paa/notify":       adapter, // its messages carry what tunnel/flow tells
	"tunnel/bind":      adapter,
	"tunnel/tun":       adapter,

	"aaa":           machine, // its protocols behind one seam
	"internal/host": machine,

	"internal/dhcp4":      service, // its raw sockets are internal/osnet's
	"internal/dhcp6":      service,
	"internal/doctor":     daemon,
	"internal/enroll":     service,
	"internal/hostapd":    service,
	"internal/operators":  service,
	"internal/standstill": service,
	"mn/addr":             service,
	"mn/discover":         service,
	"mn/link":             service,
	"mn/mobility":         service,
	"par/announce":        service,
	"par/apctl":           service,
	"par/info":            service,
	"par/neigh":           service,
	"tunnel":              service,

	"aaa/server":       daemon, // it forwards to other operators by package aaa
	"internal/control": daemon,
	"internal/daemon":  daemon,
	"internal/ha":      daemon,
	"mn":               daemon,
	"paa":              daemon,
	"par":              daemon,

	"examples": leaf,

	"cmd/mpa-aaa": lab,
	"cmd/mpa-ar":  lab,
	"cmd/mpa-ha":  lab,
	"cmd/mpa-lab": lab,
	"cmd/mpa-mn":  lab,
	"cmd/mpactl":  lab,
	"testbed":     lab,
}

// strangers are trees that never import each other, whatever the levels.
var strangers = [][2]string{{"mn", "par"}}

// thirdParties says in which rooms the packages below a path may be imported.
// The longest path that matches counts; what none matches is refused.
var thirdParties = map[string][]string{
	"github.com/alecthomas/kong":          {"cmd/mpactl", "cmd/mpa-lab", "internal/cmdline", "testbed"},
	"github.com/coreos/go-systemd":        {"internal/daemon"},
	"github.com/emiago/sipgo":             {"mn/mobility", "testbed"},
	"github.com/fiorix/go-diameter":       {"aaa/diameter"},
	"github.com/goccy/go-yaml":            {"internal/config", "testbed"},
	"github.com/google/nftables":          {"internal/osnet", "testbed"},
	"github.com/insomniacslk/dhcp":        {"internal/dhcp4", "internal/dhcp6", "testbed"},
	"github.com/mdlayher":                 {"internal/osnet", "testbed"},
	"github.com/pion":                     {"mn/mobility", "testbed"},
	"github.com/prometheus/client_golang": {"internal/control"},
	"github.com/songgao/water":            {"tunnel/tun"},
	"github.com/vishvananda/netlink":      {"internal/osnet", "testbed"},
	"github.com/vishvananda/netns":        {"internal/osnet", "testbed"},
	"go.etcd.io/bbolt":                    {"internal/state"},
	"golang.zx2c4.com/wireguard":          {"tunnel/tun", "tunnel/bind"},
	"gonum.org/v1/plot":                   {"testbed"},
	"layeh.com/radius":                    {"aaa/radius"},
	"layeh.com/radius/rfc2759":            {"aaa/eap"},
	"layeh.com/radius/rfc3079":            {"aaa/eap"},
}

// codecLibraries are those of them that only compute, which rooms of level pure may import,
// with what for.
var codecLibraries = map[string]string{
	"layeh.com/radius/rfc2759": "MS-CHAPv2",
	"layeh.com/radius/rfc3079": "the keys it makes",
}

// extensions are the Go project's own modules: from which level on they may be
// imported anywhere, and the rooms below that level that may, too.
var extensions = map[string]struct {
	from int
	also []string
}{
	"golang.org/x/crypto": {pure, []string{"paa/keys"}},
	"golang.org/x/net":    {adapter, nil},
	"golang.org/x/sync":   {adapter, nil},
	"golang.org/x/sys":    {adapter, nil},
}

// testLibraries may be imported by tests and test helpers, and by nothing else.
var testLibraries = []string{
	"github.com/google/go-cmp",
	"github.com/gopacket/gopacket",
	"github.com/rogpeppe/go-internal",
	"go.uber.org/goleak",
	"pgregory.net/rapid",
}

// outside are the packages that reach out of the process: levels leaf and pure
// import them in files named runner*.go only.
var outside = []string{
	"net", "net/http", "net/rpc", "net/smtp", "os", "os/exec", "os/signal", "plugin", "syscall",
}

// netValues are the names of package net that are values or interfaces and open
// nothing: a core may use them.
var netValues = []string{"Addr", "Conn", "ErrClosed", "HardwareAddr", "OpError", "ParseMAC"}

// outsideAllowed are the exceptions, with their reasons.
var outsideAllowed = map[string]string{
	"internal/levels os": "reads the source it judges; nothing imports it",
}
