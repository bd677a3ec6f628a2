package bench

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"openmpa/paa/keys"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/tun"
)

// An End is one end of our tunnel, in a process of its own: what a router or a node
// does with packets, without what decides about them.
//
//	TUN --> tunnel --> UDP        UDP --> tunnel --> TUN
type End struct {
	Device string         `json:"device"`
	MTU    int            `json:"mtu"`
	Local  netip.AddrPort `json:"local"`
	Peer   netip.AddrPort `json:"peer"`
	Suite  esp.Suite      `json:"suite"`
	// Offload is what the setting of that name is in the daemons.
	Offload bool `json:"offload"`
	Out     Half `json:"out"`
	In      Half `json:"in"`
}

// A Half is one direction of the security association.
type Half struct {
	SPI uint32 `json:"spi"`
	Key string `json:"key"` // in hexadecimal; of a bench, no secret
}

// ReadEnd reads what an end is to be.
func ReadEnd(path string) (e End, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	if err != nil {
		return e, fmt.Errorf("bench: the end of a tunnel: %w", err)
	}
	return e, nil
}

func (h Half) secret() (*keys.Secret, error) {
	raw, err := hex.DecodeString(h.Key)
	if err != nil {
		return nil, fmt.Errorf("bench: key: %w", err)
	}
	return keys.NewSecret(raw), nil
}

// Run carries packets until ctx ends.
func (e End) Run(ctx context.Context, log *slog.Logger) error {
	dev, err := tun.Open(tun.Config{Name: e.Device, MTU: e.MTU, Offload: e.Offload})
	if err != nil {
		return err
	}
	defer dev.Close()
	ep := tunnel.NewEndpoint(log)
	defer ep.Close()
	t, err := e.tunnel(ep, dev)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { dev.Close() })
	defer stop()
	buf := make([]byte, 65536)
	for {
		n, err := dev.Read(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		ep.Cork()
		for {
			_ = t.Queue(buf[:n]) // counted
			if dev.Buffered() == 0 {
				break
			}
			if n, err = dev.Read(buf); err != nil {
				break
			}
		}
		ep.Uncork()
	}
}

func (e End) tunnel(ep *tunnel.Endpoint, dev *tun.Device) (*tunnel.Tunnel, error) {
	ep.AroundReads(dev.Cork, func() { _ = dev.Uncork() }) // counted by the kernel
	socket, err := ep.ListenWith(e.Local, bind.Options{Offload: e.Offload})
	if err != nil {
		return nil, err
	}
	outKey, err1 := e.Out.secret()
	inKey, err2 := e.In.secret()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	out, err := e.Suite.NewOutbound(e.Out.SPI, outKey)
	if err != nil {
		return nil, err
	}
	in, err := e.Suite.NewInbound(e.In.SPI, inKey, 0)
	if err != nil {
		return nil, err
	}
	return ep.Add(tunnel.TunnelConfig{
		Socket: socket, Peer: e.Peer, Out: out, In: in,
		Receive: func(inner []byte) { _, _ = dev.Queue(inner) }, // counted by the kernel
	})
}
