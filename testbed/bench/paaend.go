package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/paa/keys"
	"openmpa/paa/pana"
)

// PAAEnd is a PAA in a process of its own, so that what it takes can be told from what its
// PaCs take. Its EAP has one round and no cryptography: PANA is what is measured.
//
//	mpa-lab pana-paa '{...}'   stdout: {"listen": ...}, then a PAAState for each line of stdin
type PAAEnd struct {
	Listen   netip.AddrPort `json:"listen"`
	Sessions int            `json:"sessions"` // at most
	Rate     float64        `json:"rate"`     // PCIs answered a second
	PerHost  float64        `json:"per_host"` // the same for one address; 0: PANA's default
	Pending  int            `json:"pending"`  // sessions in their first authentication
}

// PAAState is what a PAA tells of itself.
type PAAState struct {
	Listen  netip.AddrPort    `json:"listen"`
	Live    int               `json:"live"`   // sessions that are not closed
	Opened  uint64            `json:"opened"` // sessions that have been open
	CPU     time.Duration     `json:"cpu"`    // user and system, of the process
	Kernel  time.Duration     `json:"kernel"` // the system's part of it
	Sent    uint64            `json:"sent"`   // datagrams
	Heap    uint64            `json:"heap"`   // octets in use after a collection
	Discard map[string]uint64 `json:"discard"`
}

// countedConn counts what is sent.
type countedConn struct {
	*net.UDPConn
	sent atomic.Uint64
}

// WriteToUDPAddrPort implements pana.Conn.
func (c *countedConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.sent.Add(1)
	return c.UDPConn.WriteToUDPAddrPort(b, to)
}

// eapAnswer is what the loop-back method says in a session.
type eapAnswer struct {
	sid   uint32
	reply pana.EAPReply
}

// benchMSK is no secret.
func benchMSK() *keys.Secret { return keys.NewSecret(make([]byte, 64)) }

// Run serves until in ends.
func (e *PAAEnd) Run(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(e.Listen))
	if err != nil {
		return fmt.Errorf("bench: PAA: %w", err)
	}
	conn := &countedConn{UDPConn: udp}
	var opened uint64 // of the server's goroutine
	replies := make(chan eapAnswer, 1<<16)
	cfg := pana.PAAConfig{MaxSessions: e.Sessions, MaxPending: e.Pending, PCIRate: e.Rate, PCIRatePerSource: e.PerHost}
	server, err := pana.Serve(ctx, conn, cfg, func(o pana.Output) {
		switch o := o.(type) {
		case pana.EAPStart:
			replies <- eapAnswer{o.SID, pana.EAPReply{Packet: []byte{1, 1, 0, 5, 1}}}
		case pana.EAPResponse:
			replies <- eapAnswer{o.SID, pana.EAPReply{Done: true, Success: true, Packet: []byte{3, 1, 0, 4}, MSK: benchMSK()}}
		case pana.Opened:
			o.MSK.Clear()
			opened++
		}
	})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for a := range replies {
			if server.Post(func(now time.Time, p *pana.PAA) { _ = p.EAPReply(now, a.sid, a.reply) }) != nil {
				a.reply.MSK.Clear()
			}
		}
	})
	defer wg.Wait()
	defer close(replies)
	defer server.Close()
	enc := json.NewEncoder(out)
	s := PAAState{Listen: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("bench: PAA: %w", err)
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if s.Heap = 0; lines.Text() == "memory" {
			runtime.GC()
			debug.FreeOSMemory() // the second collection takes what pools have kept
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			s.Heap = m.HeapAlloc
		}
		if err := server.Do(func(_ time.Time, p *pana.PAA) {
			s.Live, s.Opened, s.Discard = p.Sessions(), opened, map[string]uint64{}
			for d, n := range p.Counters() {
				s.Discard[d.String()] = n
			}
		}); err != nil {
			return err
		}
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			return fmt.Errorf("bench: PAA: %w", err)
		}
		s.CPU, s.Kernel, s.Sent = used(u), time.Duration(u.Stime.Nano()), conn.sent.Load()
		if err := enc.Encode(s); err != nil {
			return fmt.Errorf("bench: PAA: %w", err)
		}
	}
	return nil
}

func used(u unix.Rusage) time.Duration { return time.Duration(u.Utime.Nano() + u.Stime.Nano()) }

// paaChild is a PAAEnd as its measurer has it.
type paaChild struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	addr  netip.AddrPort
}

// startPAA starts one.
func startPAA(ctx context.Context, o Options, e *PAAEnd) (*paaChild, error) {
	arg, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	c := &paaChild{cmd: exec.CommandContext(ctx, o.Self, "pana-paa", string(arg))}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	c.lines = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: PAA: %w", err)
	}
	s, err := c.read()
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.addr = s.Listen
	return c, nil
}

func (c *paaChild) read() (s PAAState, err error) {
	if !c.lines.Scan() {
		return s, fmt.Errorf("bench: the PAA's process says nothing: %w", errors.Join(c.lines.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(c.lines.Bytes(), &s); err != nil {
		return s, fmt.Errorf("bench: the PAA's process: %w", err)
	}
	return s, nil
}

// state asks; memory also for the heap, which takes a collection.
func (c *paaChild) state(memory bool) (PAAState, error) {
	word := "state\n"
	if memory {
		word = "memory\n"
	}
	if _, err := io.WriteString(c.in, word); err != nil {
		return PAAState{}, fmt.Errorf("bench: PAA: %w", err)
	}
	return c.read()
}

func (c *paaChild) stop() error {
	if err := errors.Join(c.in.Close(), c.cmd.Wait()); err != nil {
		return fmt.Errorf("bench: PAA: %w", err)
	}
	return nil
}
