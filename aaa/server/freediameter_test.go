package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/diameter"
	"openmpa/testbed/peers"
)

const relayName = "relay.visited.example"

// freeDiameter runs a relay between routers of visited.example and servers of
// home.example, until the test ends. It returns its address, and what reads its log.
func freeDiameter(t *testing.T, servers []*dserver) (addr string, f peers.FreeDiameter, log func() []byte) {
	t.Helper()
	dir := t.TempDir()
	state, err := OpenState(dir) // for the certificate that it does not start without
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.ServerCertificate(relayName); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close()
	f = peers.FreeDiameter{
		Dir: dir, Name: "relay", Identity: relayName, Realm: "visited.example", Listen: netip.MustParseAddrPort(addr), Clients: []string{"*.visited.example"},
		Transport: peers.Transport{CA: filepath.Join(dir, "ca.pem"), Certificate: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key")},
	}
	for _, d := range servers {
		f.Peers = append(f.Peers, peers.DiameterPeer{Identity: d.name, Realm: "home.example", Addr: netip.MustParseAddrPort(d.addr)})
	}
	command, err := f.Command()
	if err != nil {
		if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	out, err := os.Create(filepath.Join(dir, "relay.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
	})
	log = func() []byte {
		b, err := os.ReadFile(out.Name())
		if err != nil {
			t.Error(err)
		}
		return b
	}
	eventually(t, func() error { return f.Answers(t.Context()) })
	eventually(t, func() error {
		for _, d := range servers {
			if list := d.front.Node().Peers(); len(list) == 0 || list[0].State != "okay" {
				return fmt.Errorf("the relay has not connected to %s: %+v\n%s", d.name, list, log())
			}
		}
		return nil
	})
	return addr, f, log
}

// TestFreeDiameterBetween has a relay that is not ours between the router and the
// server: authentication, records, the end, orders the other way, and a server lost
// behind it. It has nothing to complain of.
func TestFreeDiameterBetween(t *testing.T) {
	s := newDiameterServers(t, 2, diameter.Peer{Identity: relayName})
	addr, f, log := freeDiameter(t, s.servers)
	s.router(diameter.Peer{Identity: relayName, Addr: addr})
	defer func() {
		if c := f.Complaints(log()); len(c) > 0 {
			t.Errorf("freeDiameter says %q", c)
		}
		if t.Failed() {
			t.Logf("%s", log())
		}
	}()

	p, r, err := authenticate(t, s.backend, s.node)
	if err != nil || r.Decision != aaa.Accept {
		t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
	}
	if _, _, msk := p.Result(); !msk.Equal(r.MSK) {
		t.Error("the router's key is not the node's")
	}
	serving, spare := s.servers[0], s.servers[1]
	if r.Grant.Server != serving.name {
		serving, spare = spare, serving
	}

	// Orders, to a router that the relay speaks for.
	client := "diameter:ar-a.visited.example (relayed)"
	for _, k := range []OrderKind{OrderAgain, OrderExtend, OrderEnd} {
		if err := serving.front.Order(t.Context(), client, Order{Kind: k, Grant: r.Grant, Life: time.Minute, Why: "no credit"}); err != nil {
			t.Errorf("%v: %v", k, err)
		}
	}
	if len(s.orders.list) != 3 {
		t.Errorf("told %q", s.orders.list)
	}

	// The server goes in the middle of an authentication.
	_, _, err = converse(t, s.backend, s.node, func(round int) {
		if round != 2 {
			return
		}
		if serving.core.Counters().Sessions == 0 { // whom the relay has chosen
			serving, spare = spare, serving
		}
		serving.kill()
	})
	var lost *aaa.LostError
	if !errors.As(err, &lost) || lost.Server != serving.name || lost.Next != relayName {
		t.Errorf("killed in the middle: %v", err)
	}
	if _, r, err = authenticate(t, s.backend, s.node); err != nil || r.Grant.Server != spare.name {
		t.Errorf("the one after that: %+v, %v", r.Grant, err)
	}
	// What the first server had granted is ended at the other one.
	g := r.Grant
	g.Server = serving.name
	if err := s.carrier.Account(t.Context(), aaa.Record{Grant: g, Kind: aaa.RecordStop, Cause: aaa.CauseUser}); err != nil {
		t.Errorf("end of a session whose server is gone: %v", err)
	}
}
