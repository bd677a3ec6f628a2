package bench

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"path/filepath"

	"openmpa/testbed/bed"
	"openmpa/tunnel/esp"
)

// Names of the subjects.
const (
	nameBare      = "bare veth pair"
	nameWireGuard = "wireguard-go"
	nameAES       = "ours, AES-128-GCM"
	nameChaCha    = "ours, ChaCha20-Poly1305"
	namePlain     = "ours, AES-128-GCM, offload off"
)

// The rows.
var (
	rowTCP1    = Row{Name: "TCP, one stream", Unit: "Gb/s of payload", Better: More, Base: nameWireGuard}
	rowTCP8    = Row{Name: "TCP, eight streams", Unit: rowTCP1.Unit, Better: More, Base: nameWireGuard}
	rowUDPFull = Row{Name: "UDP, 1400 octets", Unit: rowTCP1.Unit, Better: More, Base: nameWireGuard}
	rowUDPTiny = Row{Name: "UDP, 64 octets", Unit: "thousand packets/s", Better: More, Base: nameWireGuard}
	rowRTT     = Row{Name: "round trip beside one TCP stream, median", Unit: "ms", Better: Less, Base: nameWireGuard}
	rowRTT99   = Row{Name: "round trip beside one TCP stream, 99th percentile", Unit: "ms", Better: Less, Base: nameWireGuard}
	rowCPU     = Row{Name: "processor time of both ends, one TCP stream", Unit: "s/Gb", Better: Less, Base: nameWireGuard}
	rowCPUAll  = Row{Name: "processor time of the whole machine, one TCP stream", Unit: "s/Gb", Better: Less, Base: nameWireGuard}
)

// Tunnel compares our tunnel with wireguard-go.
func Tunnel() Bench {
	return Bench{
		Name: "tunnel", Doc: "our tunnel beside wireguard-go and the bare link",
		Rounds: 5, Seconds: 2, Measure: measureTunnel,
	}
}

func measureTunnel(ctx context.Context, o Options, a *Adder) (err error) {
	p, err := newPair(o.Say.Line)
	if err != nil {
		return err
	}
	var subjects []*subject
	defer func() {
		for _, s := range subjects {
			err = errors.Join(err, s.stop())
		}
		err = errors.Join(err, p.close())
	}()
	for i, start := range []func(n int) (*subject, error){
		func(n int) (*subject, error) { return &subject{name: nameBare, number: n}, nil },
		func(n int) (*subject, error) { return p.wireguard(ctx, o, n, nameWireGuard) },
		func(n int) (*subject, error) { return p.ours(ctx, o, n, nameAES, esp.AESGCM, 16+esp.SaltLen, true) },
		func(n int) (*subject, error) {
			return p.ours(ctx, o, n, nameChaCha, esp.ChaCha20Poly1305, 32+esp.SaltLen, true)
		},
		func(n int) (*subject, error) { return p.ours(ctx, o, n, namePlain, esp.AESGCM, 16+esp.SaltLen, false) },
	} {
		s, err := start(i)
		subjects = append(subjects, s)
		if err != nil {
			return err
		}
		o.Say.Line("%s is there", s.name)
	}
	built, err := buildinfo.ReadFile(filepath.Join(o.Bin, wireguardProgram))
	if err != nil {
		return fmt.Errorf("bench: %s: %w", wireguardProgram, err)
	}
	a.Note("wireguard-go %s, built with %s; MTU of the tunnels %d octets", built.Main.Version, built.GoVersion, tunnelMTU)
	for round := range o.Rounds {
		for i := range subjects {
			s := subjects[(i+round)%len(subjects)] // another first one in each round
			o.Say.Line("round %d of %d: %s", round+1, o.Rounds, s.name)
			if err := p.sample(ctx, o, a, s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// sample measures everything of one subject once.
func (p *pair) sample(ctx context.Context, o Options, a *Adder, s *subject) error {
	for _, t := range []struct {
		row     Row
		streams int
		payload int
	}{{rowTCP1, 1, 0}, {rowTCP8, 8, 0}, {rowUDPFull, 0, 1400}, {rowUDPTiny, 0, 64}} {
		rows := []Row{t.row}
		if t.streams == 1 {
			rows = append(rows, rowCPU, rowCPUAll)
		}
		if !o.wantsAny(rows...) {
			continue
		}
		var l *load
		var err error
		if t.streams > 0 {
			l, err = p.tcp(ctx, s, t.streams)
		} else {
			l, err = p.udp(s, t.payload)
		}
		var m sample
		if err == nil {
			if err = bed.Sleep(ctx, warmUp); err == nil {
				m, err = s.measure(ctx, l, o.Duration())
			}
		}
		if err := errors.Join(err, l.stop()); err != nil {
			return err
		}
		switch gigabits := float64(m.octets) * 8 / 1e9; {
		case t.row.Unit == rowUDPTiny.Unit:
			a.Add(t.row, s.name, float64(m.packets)/1e3/m.took.Seconds())
		default:
			a.Add(t.row, s.name, gigabits/m.took.Seconds())
			if t.streams == 1 && gigabits > 0 {
				if len(s.ends) > 0 {
					a.Add(rowCPU, s.name, m.ends.Seconds()/gigabits)
				}
				a.Add(rowCPUAll, s.name, m.machine.Seconds()/gigabits)
			}
		}
	}
	if !o.wantsAny(rowRTT, rowRTT99) {
		return nil
	}
	return p.sampleRTT(ctx, o, a, s)
}

// sampleRTT measures the time there and back while a TCP stream fills the way.
func (p *pair) sampleRTT(ctx context.Context, o Options, a *Adder, s *subject) error {
	l, err := p.tcp(ctx, s, 1)
	if err != nil {
		return errors.Join(err, l.stop())
	}
	g, err := p.ping(s)
	if err == nil {
		if err = bed.Sleep(ctx, warmUp); err == nil {
			g.reset()
			err = bed.Sleep(ctx, o.Duration())
		}
	}
	if err := errors.Join(err, g.stop(), l.stop()); err != nil {
		return err
	}
	if g.percentile(50) == 0 {
		a.Problem("%s: no packet came back beside a TCP stream in %g s", s.name, o.Seconds)
		return nil
	}
	a.Add(rowRTT, s.name, g.percentile(50).Seconds()*1e3)
	a.Add(rowRTT99, s.name, g.percentile(99).Seconds()*1e3)
	return nil
}
