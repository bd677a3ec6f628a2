package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/peers"
	"openmpa/testbed/proc"
	"openmpa/tunnel/esp"
)

const (
	// tunnelMTU has an IP packet of 1,428 octets, a UDP payload of 1,400, fit both
	// tunnels' outer packets of 1,500.
	tunnelMTU = 1428
	startWait = 20 * time.Second
	stopWait  = 10 * time.Second
)

// A subject is one way between the namespaces: two processes, or none.
type subject struct {
	name   string
	number int // of its addresses
	ends   []*proc.Child
}

// addrs are the addresses that traffic by this way is between.
func (s *subject) addrs() (left, right netip.Addr) { return subnet(s.number) }

// startEnd starts one process of a subject and waits for its interface.
func (p *pair) startEnd(ctx context.Context, s *subject, at side, name, logs string, command []string, dev string) error {
	log := p.run.File(name + ".log")
	if logs != "" {
		log = filepath.Join(logs, name+".log")
	}
	c, err := proc.Start(p.run, proc.Spec{
		Name: name, Space: at.Space, Command: command, Log: log,
		Answers: func(context.Context) error {
			_, err := at.Netlink().LinkByName(dev)
			return err
		},
	})
	if err != nil {
		return err
	}
	s.ends = append(s.ends, c)
	return c.Ready(ctx, startWait)
}

func (s *subject) stop() error {
	var errs []error
	for _, c := range s.ends {
		errs = append(errs, c.Stop(stopWait))
	}
	return errors.Join(errs...)
}

// ours is our tunnel with keys of a length.
func (p *pair) ours(ctx context.Context, o Options, number int, name string, suite esp.Suite, keyLen int, offload bool) (*subject, error) {
	s := &subject{name: name, number: number}
	var there, back Half
	for i, h := range []*Half{&there, &back} {
		key := make([]byte, keyLen)
		if _, err := rand.Read(key); err != nil {
			return s, fmt.Errorf("bench: %w", err)
		}
		*h = Half{SPI: uint32(1000 + 2*number + i), Key: hex.EncodeToString(key)}
	}
	port := uint16(4500 + number)
	left, right := netip.AddrPortFrom(p.left.addr, port), netip.AddrPortFrom(p.right.addr, port)
	innerLeft, innerRight := s.addrs()
	for _, end := range []struct {
		at          side
		name        string
		local, peer netip.Addr
		end         End
	}{
		{p.left, "left", innerLeft, innerRight, End{Local: left, Peer: right, Out: there, In: back}},
		{p.right, "right", innerRight, innerLeft, End{Local: right, Peer: left, Out: back, In: there}},
	} {
		e := end.end
		e.Device, e.MTU, e.Suite, e.Offload = fmt.Sprintf("mpa%d", number), tunnelMTU, suite, offload
		b, err := json.Marshal(e)
		if err != nil {
			return s, fmt.Errorf("bench: %w", err)
		}
		id := fmt.Sprintf("%s-%d", end.name, number)
		file := p.run.File(id + ".json")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return s, fmt.Errorf("bench: %w", err)
		}
		if err := p.startEnd(ctx, s, end.at, id, o.Logs, []string{o.Self, "tunnel-end", file}, e.Device); err != nil {
			return s, err
		}
		if err := end.at.up(e.Device, end.local, end.peer, tunnelMTU); err != nil {
			return s, err
		}
	}
	return s, nil
}

// wireguardProgram is what the lab's script builds, from the module in go.mod.
const wireguardProgram = "wireguard-go"

// wireguard is wireguard-go, built from its module.
func (p *pair) wireguard(ctx context.Context, o Options, number int, name string) (*subject, error) {
	s := &subject{name: name, number: number}
	program := filepath.Join(o.Bin, wireguardProgram)
	if _, err := os.Stat(program); err != nil {
		return s, fmt.Errorf("bench: %w; \"./testbed/lab bench tunnel\" builds it", err)
	}
	const port = 51820
	innerLeft, innerRight := s.addrs()
	type end struct {
		peers.WireGuard
		at    side
		local netip.Addr
		peer  netip.Addr
	}
	ends := [2]end{
		{at: p.left, local: innerLeft, peer: innerRight, WireGuard: peers.WireGuard{Interface: fmt.Sprintf("wgb%d-left", p.run.ID), KeyFile: p.run.File("left.key"), Port: port}},
		{at: p.right, local: innerRight, peer: innerLeft, WireGuard: peers.WireGuard{Interface: fmt.Sprintf("wgb%d-right", p.run.ID), KeyFile: p.run.File("right.key"), Port: port}},
	}
	for i := range ends {
		other := &ends[1-i]
		key, err := ends[i].WriteKey(ends[i].KeyFile)
		if err != nil {
			return s, err
		}
		other.Peer = peers.WireGuardPeer{
			Key: key, Endpoint: netip.AddrPortFrom(ends[i].at.addr, port),
			Allowed: []netip.Prefix{netip.PrefixFrom(ends[i].local, 32)},
		}
	}
	for _, e := range ends {
		if err := p.startEnd(ctx, s, e.at, e.Interface, o.Logs, []string{program, "--foreground", e.Interface}, e.Interface); err != nil {
			return s, err
		}
		wg := wgTool(e.at, e.WireGuard)
		if err := awaitAnswer(ctx, e.WireGuard, wg); err != nil {
			return s, fmt.Errorf("bench: %s: %w", e.Interface, err)
		}
		if err := errors.Join(e.Configure(wg), e.at.up(e.Interface, e.local, e.peer, tunnelMTU)); err != nil {
			return s, err
		}
	}
	return s, nil
}

// awaitAnswer waits for a program's socket, which comes after its interface.
func awaitAnswer(ctx context.Context, w peers.WireGuard, wg peers.Run) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		last := w.Answers(ctx, wg)
		if last == nil {
			return nil
		}
		if err := bed.Sleep(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("it does not answer in %v: %w: %w", startWait, err, last)
		}
	}
}

// wgTool runs wg(8) in a namespace.
func wgTool(at side, w peers.WireGuard) peers.Run {
	return func(arguments ...string) (string, error) {
		tool, err := w.Tool()
		if err != nil {
			return "", err
		}
		var out []byte
		err = at.Do(func() error {
			out, err = exec.Command(tool, arguments...).CombinedOutput()
			return err
		})
		if err != nil {
			return "", fmt.Errorf("bench: wg %s: %w: %s", arguments[0], err, strings.TrimSpace(string(out)))
		}
		return string(out), nil
	}
}
