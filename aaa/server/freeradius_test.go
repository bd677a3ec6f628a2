package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/testbed/peers"
)

// freeradius is a FreeRADIUS on the loopback interface.
type freeradius struct {
	peers.FreeRADIUS
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startFreeRADIUS runs one with the certificates of state, on a free port.
func startFreeRADIUS(t *testing.T, stateDir string, change func(*peers.FreeRADIUS)) *freeradius {
	t.Helper()
	program(t, "freeradius", "freeradius")
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &freeradius{t: t, FreeRADIUS: peers.FreeRADIUS{
		Dir: t.TempDir(), Name: "home", Listen: probe.LocalAddr().(*net.UDPAddr).AddrPort(),
		Clients: netip.MustParsePrefix("127.0.0.0/8"), Secret: "testing123", State: stateDir,
	}}
	_ = probe.Close()
	if change != nil {
		change(&f.FreeRADIUS)
	}
	f.start()
	t.Cleanup(f.kill)
	return f
}

func (f *freeradius) start() {
	f.t.Helper()
	command, err := f.Command()
	if err != nil {
		f.t.Fatal(err)
	}
	name := filepath.Join(f.Dir, "log")
	log, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	f.cmd = exec.Command(command[0], command[1:]...)
	f.cmd.Stdout, f.cmd.Stderr = log, log
	if err := f.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	f.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // killed in the end: always an error
		cancel()
		close(done)
	}(f.cmd, f.done)
	if err := f.Answers(ctx, nodeName, nil); err != nil {
		text, _ := os.ReadFile(name)
		f.t.Fatalf("%v\n%s", err, text)
	}
}

// kill ends it as a crash would.
func (f *freeradius) kill() {
	_ = f.cmd.Process.Kill()
	<-f.done
}

// router is a RADIUS client of f, of a path to it, or of other servers, too.
func (f *freeradius) router(timing radius.Timing, servers ...netip.AddrPort) (*radius.Client, aaa.Backend) {
	f.t.Helper()
	cfg := radius.Config{NASIdentifier: "ar-a", Timing: timing}
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, radius.Server{Addr: s, Secret: secret(f.Secret)})
	}
	client, err := radius.NewClient(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = client.Close() })
	return client, aaa.NewRADIUS(client)
}

// TestFreeRADIUS lets our peer and our RADIUS client authenticate at FreeRADIUS. The
// keys are compared in full: the node's own with those that FreeRADIUS sends.
func TestFreeRADIUS(t *testing.T) {
	stateDir, node, rogue := issued(t)
	for name, c := range map[string]struct {
		tls, curves string
		theirs      int // fragment size, octets
		ours        int
		version     uint16
	}{
		"TLS 1.3":                           {"1.3", "", 1024, 1024, tls.VersionTLS13},
		"TLS 1.2":                           {"1.2", "", 1024, 1024, tls.VersionTLS12},
		"TLS 1.3 after a HelloRetryRequest": {"1.3", "prime256v1", 1024, 1024, tls.VersionTLS13},
		"TLS 1.3 in fragments":              {"1.3", "", 200, 200, tls.VersionTLS13},
		"TLS 1.2 in small fragments":        {"1.2", "", 150, 150, tls.VersionTLS12},
		"TLS 1.3, theirs small":             {"1.3", "", 150, 1400, tls.VersionTLS13},
		"TLS 1.2, theirs small":             {"1.2", "", 150, 1400, tls.VersionTLS12},
		"TLS 1.3, theirs large":             {"1.3", "", 3000, 200, tls.VersionTLS13},
		"TLS 1.2, theirs large":             {"1.2", "", 3000, 200, tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFreeRADIUS(t, stateDir, func(f *peers.FreeRADIUS) { f.MaxTLS, f.Curves, f.Fragment = c.tls, c.curves, c.theirs })
			client, backend := f.router(radius.Timing{}, f.Listen)
			good := node
			good.FragmentSize = c.ours
			p, r, err := authenticate(t, backend, good)
			if err != nil || r.Decision != aaa.Accept {
				t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
			}
			_, success, msk := p.Result()
			if !success || msk.Len() != 64 || !msk.Equal(r.MSK) || r.SessionTimeout != time.Hour || p.TLSVersion() != tls.VersionName(c.version) {
				t.Errorf("success %v, MSK equal %v, session timeout %v, %s", success, msk.Equal(r.MSK), r.SessionTimeout, p.TLSVersion())
			}
			for what, x := range map[string]struct {
				change func(*eap.PeerConfig)
				node   func(error) bool
			}{
				// It sends EAP-Failure at once, without the alert.
				"client of another CA":   {func(p *eap.PeerConfig) { p.TLS.Certificate = rogue.TLS.Certificate }, refusedAt("when it had our certificate")},
				"client of another name": {func(p *eap.PeerConfig) { p.Identity = "other@home.example" }, refusedAt("when it had our certificate")},
				"server of another CA":   {func(p *eap.PeerConfig) { p.TLS.Roots = rogue.TLS.Roots }, func(err error) bool { return errors.Is(err, eap.ErrUnknownCA) }},
				"server of another name": {func(p *eap.PeerConfig) { p.TLS.ServerName = "evil.home.example" }, func(err error) bool { return errors.Is(err, eap.ErrWrongName) }},
			} {
				bad := good
				x.change(&bad)
				p, r, err := authenticate(t, backend, bad)
				var reject *aaa.RejectError
				if !errors.As(err, &reject) || reject.Bare || r.Decision != aaa.Reject || !x.node(p.Err()) || strings.Contains(err.Error()+p.Err().Error(), "\n") {
					t.Errorf("%s: %v, %v, node: %v", what, r.Decision, err, p.Err())
				}
			}
			if n := client.Counters(); n.Replies != n.Sent || n.Retransmitted != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// refusedAt tells a refusal without a reason by how far the node had come.
func refusedAt(stage string) func(error) bool {
	return func(err error) bool {
		var rejected *eap.RejectedError
		return errors.As(err, &rejected) && strings.HasPrefix(rejected.Stage, stage)
	}
}

// TestFreeRADIUSRestarts in the middle of a conversation, of which it knows nothing
// after. It refuses without an EAP packet then, and both ends say so in a line.
func TestFreeRADIUSRestarts(t *testing.T) {
	stateDir, node, _ := issued(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		node.TLS.MaxVersion = version
		for round, stage := range map[int]string{
			1: "in EAP-TLS, before it had our certificate", // lost: ClientHello
			2: "when it had our certificate",               // lost: certificate
			3: "after TLS had succeeded",                   // lost: the last acknowledgement
		} {
			t.Run(fmt.Sprintf("%s, round %d", tls.VersionName(version), round), func(t *testing.T) {
				f := startFreeRADIUS(t, stateDir, nil)
				_, backend := f.router(radius.Timing{}, f.Listen)
				p, r, err := converse(t, backend, node, func(i int) {
					if i == round {
						f.kill()
						f.start()
					}
				})
				var reject *aaa.RejectError
				if !errors.As(err, &reject) || !reject.Bare || r.Decision != aaa.Reject || r.EAP != nil || strings.Contains(err.Error(), "\n") {
					t.Errorf("router: %v, %v, EAP % x", r.Decision, err, r.EAP)
				}
				if !refusedAt(stage)(p.Err()) {
					t.Errorf("node: %v", p.Err())
				}
			})
		}
	}
	t.Run("and stays away", func(t *testing.T) {
		f := startFreeRADIUS(t, stateDir, nil)
		other := startFreeRADIUS(t, stateDir, nil)
		// On a busy machine a server that lives takes a second to answer, and is not to be taken for one that is away.
		client, backend := f.router(radius.Timing{IRT: 50 * time.Millisecond, MRD: 4 * time.Second}, f.Listen, other.Listen)
		_, r, err := converse(t, backend, node, func(i int) {
			if i == 2 {
				f.kill()
			}
		})
		if !errors.Is(err, aaa.ErrTimeout) || r.Decision != aaa.Continue || !strings.Contains(err.Error(), "no answer from "+f.Listen.String()) {
			t.Errorf("%v, %v", r.Decision, err)
		}
		// The conversation was that server's. The next one is the other's, at once: nothing comes where that server was.
		before := client.Counters()
		dead, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(f.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer dead.Close()
		p, r, err := authenticate(t, backend, node)
		if err != nil || r.Decision != aaa.Accept {
			t.Errorf("%v, %v, node: %v", r.Decision, err, p.Err())
		}
		if n := client.Counters(); n.Timeouts != before.Timeouts || n.Failovers != before.Failovers {
			t.Errorf("%+v, before %+v", n, before)
		}
		_ = dead.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, from, err := dead.ReadFromUDPAddrPort(make([]byte, 64)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d octets came from %v to the server that is away (%v)", n, from, err)
		}
	})
}

// TestFreeRADIUSOverABadPath: requests and replies are lost, duplicated and
// overtaken; each authentication succeeds all the same (RFC 5080 section 2.2).
func TestFreeRADIUSOverABadPath(t *testing.T) {
	stateDir, node, _ := issued(t)
	f := startFreeRADIUS(t, stateDir, nil)
	path := newBadPath(t, f.Listen)
	timing := radius.Timing{IRT: 60 * time.Millisecond, MRT: 250 * time.Millisecond, MRD: time.Minute, MRC: 200}
	client, backend := f.router(timing, path.addr())
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := node
		cfg.TLS.MaxVersion, cfg.FragmentSize = version, 300
		for i := range 10 {
			p, r, err := authenticate(t, backend, cfg)
			if err != nil || r.Decision != aaa.Accept {
				t.Fatalf("%s, number %d: %v, %v, node: %v", tls.VersionName(version), i, r.Decision, err, p.Err())
			}
			if _, success, msk := p.Result(); !success || !msk.Equal(r.MSK) {
				t.Errorf("%s, number %d: success %v, MSK equal %v", tls.VersionName(version), i, success, msk.Equal(r.MSK))
			}
		}
	}
	n := client.Counters()
	if lost, twice := path.lost.Load(), path.twice.Load(); lost == 0 || twice == 0 || n.Retransmitted == 0 || n.Unsolicited == 0 || n.Timeouts != 0 {
		t.Errorf("%d lost, %d duplicated, %+v", lost, twice, n)
	}
	if n.BadAuthenticator+n.BadMessageAuthenticator+n.NoMessageAuthenticator+n.Malformed != 0 {
		t.Errorf("%+v", n)
	}
}

// issued makes a server's state directory, a node of its authority, and one of
// another.
func issued(t *testing.T) (stateDir string, node, rogue eap.PeerConfig) {
	t.Helper()
	stateDir = filepath.Join(t.TempDir(), "state")
	state := mustState(t, stateDir)
	if _, err := state.ServerCertificate(serverName); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t}
	return stateDir, s.issue(state, nodeName), s.issue(mustState(t, t.TempDir()), nodeName)
}
