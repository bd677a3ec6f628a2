package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/paa/pana"
	"openmpa/testbed/bench/pac"
)

// The rows of PANASessions.
var (
	rowSessions = Row{Name: "sessions a second", Unit: "1/s", Better: More}
	rowPAACPU   = Row{Name: "processor time of the PAA, one session", Unit: "µs", Better: Less}
	rowKernel   = Row{Name: "of the PAA's, in the kernel", Unit: "µs", Better: Less}
	rowPaCCPU   = Row{Name: "processor time of the PaC, one session", Unit: "µs", Better: Less}
	rowMemory   = Row{Name: "memory of the PAA, one open session", Unit: "KiB", Better: Less}
)

// panaCrowds are how many sessions are open when others begin.
var panaCrowds = []int{0, 1_000, 10_000, 100_000}

// panaAtATime is how many nodes authenticate at a time.
const panaAtATime = 64

const (
	subjectLone    = "one node after the other"
	subjectMachine = "no sockets, one processor"
)

func subjectCrowd(n int) string { return fmt.Sprintf("beside %d open ones", n) }

// PANASessions measures sessions of PANA, with an EAP that costs nothing.
func PANASessions() Bench {
	return Bench{
		Name: "pana-sessions", Doc: "sessions of PANA a second, and what one takes, with few and with many open, EAP reduced to one round without cryptography",
		Rounds: 3, Seconds: 2, Measure: measurePANASessions,
	}
}

func measurePANASessions(ctx context.Context, o Options, a *Adder) error {
	nodes := pac.Loopback(1, panaAtATime)
	a.Note("nodes and PAA are two processes on this machine, over loopback; %d nodes at a time, but for the first row", panaAtATime)
	for round := range o.Rounds {
		if err := machineSessions(o, a); err != nil {
			return err
		}
		if err := panaRound(ctx, o, a, nodes, round); err != nil {
			return err
		}
	}
	return nil
}

// panaRound grows a PAA and measures at each size.
func panaRound(ctx context.Context, o Options, a *Adder, nodes []netip.Addr, round int) (err error) {
	paa, err := startPAA(ctx, o, &PAAEnd{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Sessions: 1 << 20, Pending: 1 << 20, Rate: 1e9, PerHost: 1e9})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, paa.stop()) }()
	empty, err := paa.state(true)
	if err != nil {
		return err
	}
	if err := panaSample(ctx, o, a, paa, nodes[:1], subjectLone); err != nil {
		return err
	}
	for _, crowd := range panaCrowds {
		now, err := paa.state(false)
		if err != nil {
			return err
		}
		o.Say.Line("round %d of %d: %d sessions open", round+1, o.Rounds, crowd)
		if err := logins(ctx, nodes, paa.addr, crowd-now.Live); err != nil {
			return err
		}
		if crowd > 0 {
			full, err := paa.state(true)
			if err != nil {
				return err
			}
			if full.Live < crowd || full.Live > crowd+panaAtATime && now.Live < crowd {
				a.Problem("%d sessions are open, expected %d", full.Live, crowd)
			}
			a.Add(rowMemory, subjectCrowd(crowd), (float64(full.Heap)-float64(empty.Heap))/float64(full.Live)/1024)
		}
		if err := panaSample(ctx, o, a, paa, nodes, subjectCrowd(crowd)); err != nil {
			return err
		}
	}
	return nil
}

// panaSample opens sessions for as long as a sample takes.
func panaSample(ctx context.Context, o Options, a *Adder, paa *paaChild, nodes []netip.Addr, subject string) error {
	before, err := paa.state(false)
	if err != nil {
		return err
	}
	own, err := ownCPU()
	if err != nil {
		return err
	}
	began := time.Now()
	number := 0
	for time.Since(began) < o.Duration() {
		batch := 4 * len(nodes)
		if err := logins(ctx, nodes, paa.addr, batch); err != nil {
			return err
		}
		number += batch
	}
	took := time.Since(began)
	after, err := paa.state(false)
	if err != nil {
		return err
	}
	ownAfter, err := ownCPU()
	if err != nil {
		return err
	}
	n := float64(number)
	a.Add(rowSessions, subject, n/took.Seconds())
	a.Add(rowPAACPU, subject, float64((after.CPU-before.CPU).Microseconds())/n)
	a.Add(rowKernel, subject, float64((after.Kernel-before.Kernel).Microseconds())/n)
	a.Add(rowPaCCPU, subject, float64((ownAfter-own).Microseconds())/n)
	return nil
}

func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	return used(u), nil
}

// machineSessions drives both machines by hand: what PANA costs without the kernel.
func machineSessions(o Options, a *Adder) error {
	paa, err := pana.NewPAA(pana.PAAConfig{MaxSessions: 1 << 20, MaxPending: 1 << 20, PCIRate: 1e9, PCIRatePerSource: 1e9})
	if err != nil {
		return err
	}
	runtime.LockOSThread() // whose processor time is looked at
	defer runtime.UnlockOSThread()
	process, err1 := ownCPU()
	thread, err2 := threadCPU()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	began := time.Now()
	var number int
	var atPAA time.Duration
	for ; time.Since(began) < o.Duration(); number++ {
		// A PAR[S] has one of four session identifiers for an address at a time.
		from := netip.AddrFrom4([4]byte{10, byte(number >> 16), byte(number >> 8), byte(number)})
		took, err := machineSession(paa, netip.AddrPortFrom(from, 716))
		if err != nil {
			return err
		}
		atPAA += took
	}
	took := time.Since(began)
	processAfter, err1 := ownCPU()
	threadAfter, err2 := threadCPU()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	// The collection of garbage, which other threads do, is shared as the rest is.
	each := float64((processAfter - process).Nanoseconds()) / 1e3 / float64(number)
	share := float64(atPAA) / float64(threadAfter-thread)
	a.Add(rowSessions, subjectMachine, float64(number)/took.Seconds())
	a.Add(rowPAACPU, subjectMachine, each*share)
	a.Add(rowPaCCPU, subjectMachine, each*(1-share))
	return nil
}

// machineSession is one session, and the thread's processor time that the PAA took for it: the caller's goroutine keeps its thread.
func machineSession(paa *pana.PAA, from netip.AddrPort) (atPAA time.Duration, err error) {
	pac, err := pana.NewPaC(pana.PaCConfig{NewEAP: func() (pana.EAPPeer, error) { return &loopEAP{}, nil }})
	if err != nil {
		return 0, err
	}
	now := time.Now()
	pac.Start(now)
	for open := 0; open < 2; {
		var toPAA [][]byte
		for o, ok := pac.Poll(); ok; o, ok = pac.Poll() {
			switch o := o.(type) {
			case pana.Send:
				toPAA = append(toPAA, o.Data)
			case pana.Opened:
				o.MSK.Clear()
				open++
			case pana.Closed:
				return 0, o.Reason
			}
		}
		began, err := threadCPU()
		if err != nil {
			return 0, err
		}
		for _, b := range toPAA {
			paa.HandlePacket(now, from, b)
		}
		var toPaC [][]byte
		for o, ok := paa.Poll(); ok; o, ok = paa.Poll() {
			switch o := o.(type) {
			case pana.Send:
				toPaC = append(toPaC, o.Data)
			case pana.EAPStart:
				err = paa.EAPReply(now, o.SID, pana.EAPReply{Packet: []byte{1, 1, 0, 5, 1}})
			case pana.EAPResponse:
				err = paa.EAPReply(now, o.SID, pana.EAPReply{Done: true, Success: true, Packet: []byte{3, 1, 0, 4}, MSK: benchMSK()})
			case pana.Opened:
				o.MSK.Clear()
				open++
			case pana.Closed:
				err = o.Reason
			}
			if err != nil {
				return 0, err
			}
		}
		ended, err := threadCPU()
		if err != nil {
			return 0, err
		}
		atPAA += ended - began
		if len(toPAA)+len(toPaC) == 0 && open < 2 {
			return 0, errors.New("bench: a session comes to no end")
		}
		for _, b := range toPaC {
			pac.HandlePacket(now, b)
		}
	}
	return atPAA, nil
}
