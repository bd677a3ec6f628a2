package pana

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestAwait: the PAA begins over UDP, from a port the PaC did not know.
func TestAwait(t *testing.T) {
	server, _, atPAA := serve(t)
	conn, addr := loopback(t)
	outs := make(chan Output, 100)
	cfg := PaCConfig{NewEAP: func() (EAPPeer, error) { return &fakePeer{}, nil }}
	client, err := Await(t.Context(), conn, netip.MustParseAddr("127.0.0.1"), cfg, func(o Output) { outs <- o })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := server.Do(func(now time.Time, p *PAA) {
		if _, err := p.Initiate(now, addr); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	o, p := want[Opened](t, outs), want[Opened](t, atPAA)
	if !sameSecret(o.MSK, p.MSK) || p.From != addr {
		t.Errorf("opened with %+v and %+v", o, p)
	}
	for _, bad := range []struct {
		paa netip.Addr
		cfg PaCConfig
	}{{netip.Addr{}, cfg}, {addr.Addr(), PaCConfig{}}} {
		if _, err := Await(t.Context(), conn, bad.paa, bad.cfg, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("error %v, expected ErrConfig", err)
		}
	}
}
