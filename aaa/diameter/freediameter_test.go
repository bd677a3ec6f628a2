package diameter

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"openmpa/internal/catest"
	"openmpa/testbed/peers"
)

// files writes a certificate and its key, for programs that read files.
func files(ca *catest.Authority, dir, name string) peers.Transport {
	ca.Write(dir, name, name)
	return peers.Transport{CA: filepath.Join(dir, "ca.pem"), Certificate: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l := listenLoopback(t)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// relay runs a freeDiameter until the test ends, and returns what reads its log.
func relay(t *testing.T, f peers.FreeDiameter) (log func() []byte) {
	t.Helper()
	if _, err := f.Program(); err != nil {
		if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	command, err := f.Command()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(f.Dir, f.Name+".log")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	log = func() []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err = f.Answers(t.Context()); err == nil {
			return log
		}
		select {
		case <-done:
			t.Fatalf("freeDiameter has ended:\n%s", log())
		default:
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%v\n%s", err, log())
		}
	}
}

// freeDiameter relays between a router of ours and a server of ours, and finds nothing
// to complain of.
func TestFreeDiameterRelays(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "TCP", true: "TLS"}[secure], func(t *testing.T) {
			t.Parallel()
			ca, dir := catest.NewAuthority(t), t.TempDir()
			const home, via, ar = "aaa.home.example", "relay.visited.example", "ar-a.visited.example"
			config := func(name string) *tls.Config { return tlsConfig(ca.Issue(name), ca.Roots()) }
			l := listenLoopback(t)
			f := peers.FreeDiameter{
				Dir: dir, Name: "relay", Identity: via, Realm: "visited.example", Listen: freePort(t), TLS: freePort(t),
				Transport: files(ca, dir, via), Clients: []string{"*.visited.example"}, Dump: true,
				Peers: []peers.DiameterPeer{{Identity: home, Realm: homeRealm, Addr: l.Addr().(*net.TCPAddr).AddrPort(), TLS: secure}},
			}
			var served atomic.Int64
			server, stopServer := playUntil(t, Config{
				Identity: home, TLS: config(home), Peers: []Peer{{Identity: via, TLS: secure}}, Listeners: []Listener{{l, secure}}, Watchdog: 6 * time.Second,
				Handler: func(_ context.Context, from string, req *diam.Message) *diam.Message {
					if from != via {
						t.Errorf("from %s", from)
					}
					served.Add(1)
					a := reply(req, diam.Success)
					return a
				},
			})
			log := relay(t, f)
			at := f.Listen
			if secure {
				at = f.TLS
			}
			client, stopClient := playUntil(t, Config{Identity: ar, TLS: config(ar), Watchdog: 6 * time.Second, Peers: []Peer{{Identity: via, Addr: at.String(), TLS: secure}}})
			ctx := within(t, time.Minute)
			for _, node := range []*Node{server, client} { // it listens for TLS last, and a router that comes before comes again
				for len(node.Peers()) == 0 || node.Peers()[0].State != "okay" {
					if ctx.Err() != nil {
						t.Fatalf("no connection with the relay: %+v\n%s", node.Peers(), log())
					}
					time.Sleep(50 * time.Millisecond)
				}
			}
			for i := range 20 {
				a, peer, err := client.Send(ctx, der("ar-a.visited.example;1;2"), Target{Realm: homeRealm})
				if err != nil || peer != via || resultCode(a) != diam.Success || fields(a.AVP).text(avp.OriginHost) != home {
					t.Fatalf("request %d: %v of %s, %v\n%s", i, a, peer, err, log())
				}
			}
			a, _, err := client.Send(ctx, der("s"), Target{Realm: "nowhere.example"})
			if err != nil || resultCode(a) != diam.UnableToDeliver {
				t.Errorf("for a realm that nobody has: %v, %v", a, err)
			}
			time.Sleep(9 * time.Second) // watchdogs of both
			if s := client.Peers()[0]; s.State != "okay" || !s.Relay || s.TLS != secure {
				t.Errorf("%+v", s)
			}
			// Goodbyes, which leave it time to say its own.
			stopClient()
			stopServer()
			time.Sleep(time.Second)
			if c := f.Complaints(log()); len(c) > 0 {
				t.Errorf("freeDiameter says %q", c)
			}
			if t.Failed() {
				t.Logf("%s", log())
			}
		})
	}
}
