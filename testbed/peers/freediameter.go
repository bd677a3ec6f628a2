package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A FreeDiameter passes Diameter messages on between peers by their realms, as a relay does: it
// checks the base protocol, and knows enough of EAP and NASREQ to read them.
type FreeDiameter struct {
	Dir              string // the run directory
	Name             string // of its files there
	Identity, Realm  string // DiameterIdentity, a host name, and its realm
	Listen           netip.AddrPort
	TLS              netip.AddrPort // zero: not
	Transport                       // always needed: it does not start without; the certificate is of Identity
	Peers            []DiameterPeer // that it connects to
	Clients          []string       // who may connect: "ar-a.visited.example", "*.visited.example"
	Dump             bool           // says every message it passes on, with the keys in it
	WatchdogInterval int            // seconds; default 6, the least there is
}

// DiameterPeer is one that a FreeDiameter connects to.
type DiameterPeer struct {
	Identity, Realm string
	Addr            netip.AddrPort
	TLS             bool
}

// freeDiameterExtensions is where Debian has them.
const freeDiameterExtensions = "/usr/lib/freeDiameter"

// Program finds the daemon, or says what to install.
func (FreeDiameter) Program() (string, error) {
	path, err := Program("freeDiameterd", "freediameterd freediameter-extensions")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(freeDiameterExtensions, "dict_eap.fdx")); err != nil {
		return "", fmt.Errorf("peers: what freeDiameter knows of EAP %w: sudo apt-get install --no-install-recommends freediameter-extensions, or start the lab by `sudo ./testbed/lab`, which does", ErrMissing)
	}
	return path, nil
}

// Command writes the configuration and returns how the daemon is started: in the foreground, saying what it has to say on
// standard output.
func (f FreeDiameter) Command() ([]string, error) {
	path, err := f.Program()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"conf": f.settings(), "acl": f.clients()} {
		if err := os.WriteFile(f.file(name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
	}
	return []string{path, "--config", f.file("conf")}, nil
}

func (f FreeDiameter) file(what string) string { return filepath.Join(f.Dir, f.Name+"."+what) }

// clients is the list of acl_wl: ALLOW_IPSEC lets in those without TLS, which is the network's affair then.
func (f FreeDiameter) clients() string {
	var b strings.Builder
	for _, name := range f.Clients {
		if f.Listen.IsValid() {
			b.WriteString("ALLOW_IPSEC ")
		}
		b.WriteString(name + "\n")
	}
	return b.String()
}

func (f FreeDiameter) settings() string {
	var b strings.Builder
	interval := f.WatchdogInterval
	if interval == 0 {
		interval = 6
	}
	listen := f.Listen.Addr()
	if !listen.IsValid() {
		listen = f.TLS.Addr()
	}
	family := "No_IPv6"
	if listen.Is6() {
		family = "No_IP"
	}
	fmt.Fprintf(&b, `Identity = "%s";
Realm = "%s";
Port = %d;
SecPort = %d;
No_SCTP;
%s;
ListenOn = "%s";
TLS_Cred = "%s", "%s";
TLS_CA = "%s";
TLS_DH_Bits = 2048;
TcTimer = 6;
TwTimer = %d;
`, f.Identity, f.Realm, f.Listen.Port(), f.TLS.Port(), family, listen, f.Certificate, f.Key, f.CA, interval)
	extension := func(name, argument string) {
		fmt.Fprintf(&b, "LoadExtension = \"%s/%s.fdx\"", freeDiameterExtensions, name)
		if argument != "" {
			fmt.Fprintf(&b, " : %q", argument)
		}
		b.WriteString(";\n")
	}
	if f.Dump {
		extension("dbg_msg_dumps", "0x1111")
	}
	extension("dict_nasreq", "")
	extension("dict_eap", "")
	extension("acl_wl", f.file("acl"))
	for _, p := range f.Peers {
		fmt.Fprintf(&b, "ConnectPeer = %q { ConnectTo = %q; Port = %d; Realm = %q; No_SCTP;", p.Identity, p.Addr.Addr(), p.Addr.Port(), p.Realm)
		if !p.TLS {
			b.WriteString(" No_TLS;")
		}
		b.WriteString(" };\n")
	}
	return b.String()
}

// Answers says whether the daemon has begun, which it says in its log, NAME.log: it takes a connection that says nothing for an
// error. Its peers may not be connected yet.
func (f FreeDiameter) Answers(context.Context) error {
	b, err := os.ReadFile(f.file("log"))
	if err != nil {
		return fmt.Errorf("peers: freeDiameter: %w", err)
	}
	if !bytes.Contains(b, []byte("daemon initialized")) {
		return errors.New("peers: freeDiameter has not said yet that it is initialized")
	}
	return nil
}

// Connected is Answers, and that it has a connection with each of its peers: only then is anything passed on.
func (f FreeDiameter) Connected(ctx context.Context) error {
	if err := f.Answers(ctx); err != nil {
		return err
	}
	b, err := os.ReadFile(f.file("log"))
	if err != nil {
		return fmt.Errorf("peers: freeDiameter: %w", err)
	}
	for _, p := range f.Peers {
		if !connected(b, p.Identity) {
			return fmt.Errorf("peers: freeDiameter has not said that it is connected with %s", p.Identity)
		}
	}
	return nil
}

// stateOf is a line of its log about a peer's state machine.
var stateOf = regexp.MustCompile(`-> '(STATE_\w+)'\s+'([^']+)'`)

// connected reports whether the last state of a peer in a log is that of a connection.
func connected(log []byte, identity string) bool {
	state := ""
	for _, m := range stateOf.FindAllSubmatch(log, -1) {
		if string(m[2]) == identity {
			state = string(m[1])
		}
	}
	return state == "STATE_OPEN"
}

// complaint is a line of its log of the levels that mean trouble, or of a message that it will not have.
var complaint = regexp.MustCompile(`(?m)^\S+\s+(?:(?:ERROR|FATAL)\b.*|.*(?i:discard|invalid|malformed|unexpected|parsing error|rejected).*)$`)

// ending is what it says when it was told to end; it cuts its connections then, and complains of them.
const ending = "Initiating freeDiameter shutdown sequence"

// goodbye is how it logs the end of every connection with TLS, be it as orderly as can be: its receiver knows no other result.
// When the other end has said that it closes, two of its threads end the same TLS session, of which the second may be told that
// it asks for what cannot be.
var goodbye = regexp.MustCompile(`ERROR: in '\(fd_tls_rcvthr_core\(.*\)\)' :\s+Transport endpoint is not connected$|` +
	`TLS ERROR: in 'gnutls_bye\([^']*\)' :\s+The request is invalid\.$`)

// Complaints finds in what the daemon has said the lines about errors, also of those it connects to in vain, until it was told
// to end.
func (f FreeDiameter) Complaints(log []byte) []string {
	var out []string
	for _, line := range complaint.FindAll(log, -1) {
		if goodbye.Match(line) {
			continue
		}
		if bytes.Contains(line, []byte(ending)) {
			break
		}
		out = append(out, string(bytes.TrimSpace(line)))
	}
	return out
}
