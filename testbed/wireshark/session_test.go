package wireshark

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// captureTo names the environment variable for the file that TestSession copies its
// capture to.
const captureTo = "OPENMPA_CAPTURE"

// recorder keeps what both ends of a session send.
type recorder struct {
	mu   sync.Mutex
	list []datagram // guarded by mu
}

// recorded is a socket whose datagrams are kept, under made-up addresses.
type recorded struct {
	*net.UDPConn
	r        *recorder
	from, to netip.AddrPort
}

func (c *recorded) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.r.mu.Lock()
	c.r.list = append(c.r.list, datagram{c.from, c.to, slices.Clone(b)})
	c.r.mu.Unlock()
	return c.UDPConn.WriteToUDPAddrPort(b, to)
}

// shortEAP is a peer whose method has one round.
type shortEAP struct{ done bool }

func (p *shortEAP) Handle(b []byte) ([]byte, error) {
	if p.done = b[0] == 3; p.done {
		return nil, nil
	}
	return []byte{2, b[1], 0, 7, 1, 'm', 'n'}, nil
}

func (p *shortEAP) Result() (done, success bool, msk *keys.Secret) {
	if !p.done {
		return false, false, nil
	}
	return true, true, keys.NewSecret(make([]byte, 64))
}

// TestSession plays a pre-authentication with one sealed message, over loopback.
func TestSession(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := &recorder{}
	listen := func(from, to netip.AddrPort) (*recorded, netip.AddrPort) {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return &recorded{conn, r, from, to}, conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	derive := func(o pana.Opened, dir keys.Direction) *notify.Channel {
		defer o.MSK.Clear()
		k := keys.DeriveSession(o.PRF, o.MSK.Bytes(), o.SID, o.KeyID, "ca", "ar")
		defer k.Clear()
		c, err := notify.NewChannel(o.SID, k, dir)
		if err != nil {
			t.Error(err)
		}
		return c
	}
	atRouter, atNode := make(chan pana.Output, 16), make(chan pana.Output, 16)
	conn, addr := listen(router, node)
	server, err := pana.Serve(ctx, conn, pana.PAAConfig{}, func(o pana.Output) { atRouter <- o })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, _ = listen(node, router)
	cfg := pana.PaCConfig{Preauth: true, NewEAP: func() (pana.EAPPeer, error) { return &shortEAP{}, nil }}
	client, err := pana.Dial(ctx, conn, addr, cfg, func(o pana.Output) { atNode <- o })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	reply := func(sid uint32, r pana.EAPReply) {
		if err := server.Post(func(now time.Time, p *pana.PAA) {
			if err := p.EAPReply(now, sid, r); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Error(err)
		}
	}
	var channel *notify.Channel // the router's
	for told := false; !told; {
		select {
		case <-ctx.Done():
			t.Fatal("the session did not come about")
		case o := <-atRouter:
			switch o := o.(type) {
			case pana.EAPStart:
				reply(o.SID, pana.EAPReply{Packet: []byte{1, 1, 0, 5, 1}})
			case pana.EAPResponse:
				reply(o.SID, pana.EAPReply{Done: true, Success: true, Packet: []byte{3, 1, 0, 4}, MSK: keys.NewSecret(make([]byte, 64))})
			case pana.Opened:
				channel = derive(o, keys.ToNode)
			case pana.Notified:
				m, err := channel.Open(o.AVPs[0].Code, o.AVPs[0].Data)
				if told = err == nil && m.Kind() == notify.KindTunnelDelete; !told {
					t.Fatalf("the router was told %v, %v", m, err)
				}
			}
		case o := <-atNode:
			if o, ok := o.(pana.Opened); ok {
				code, value, err := derive(o, keys.ToRouter).Seal(&notify.TunnelDelete{Header: notify.Header{Handover: event.HandoverID{9}}})
				if err != nil {
					t.Fatal(err)
				}
				if err := client.Do(func(now time.Time, p *pana.PaC) {
					if _, err := p.Notify(now, []pana.AVP{{Code: code, Vendor: pana.VendorID, Data: value}}, pana.NotifyOptions{}); err != nil {
						t.Error(err)
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	client.Close()
	server.Close()
	if name := os.Getenv(captureTo); name != "" {
		if err := os.Rename(write(t, r.list), name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeyFile: what a build with the tag panakeylog writes opens its sessions to tshark,
// and an ordinary build writes nothing.
func TestKeyFile(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("go is missing, to build with the tag panakeylog")
	}
	play := func(tags string) (capture, file string) {
		dir := t.TempDir()
		capture, file = filepath.Join(dir, "capture"), filepath.Join(dir, "keys")
		cmd := exec.CommandContext(t.Context(), goTool, "test", "-tags", tags, "-count=1", "-run", "^TestSession$", ".")
		cmd.Env = append(os.Environ(), "PANAKEYLOGFILE="+file, captureTo+"="+capture)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
		return capture, file
	}
	capture, file := play("")
	if b, err := os.ReadFile(file); !os.IsNotExist(err) {
		t.Errorf("an ordinary build has written keys: %d octets, %v", len(b), err)
	}
	shown := func(options ...string) (secret []string) {
		for _, row := range columns(t, capture, []string{"mpana.name", "mpana.message.kind", "mpana.message.handover", "_ws.expert.message"}, options...) {
			if row[0] == "PNR[PE]" {
				secret = row[1:3]
			}
			if len(options) > 0 && row[3] != "" {
				t.Errorf("%s: %s", row[0], row[3])
			}
		}
		return secret
	}
	if got := shown(); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("without keys the message shows %q", got)
	}
	capture, file = play("panakeylog")
	if got := shown("-o", "mpana.keylog_file:"+file); !slices.Equal(got, []string{"5", "09000000000000000000000000000000"}) {
		t.Errorf("with keys the message shows %q", got)
	}
}
