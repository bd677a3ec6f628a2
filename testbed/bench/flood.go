package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"openmpa/paa/pana"
)

// floodBatch is how many datagrams go in one call.
const floodBatch = 64

// floodShare is how much of one processor the sender of a flood may take.
const floodShare = 0.5

// A flooder sends PCIs, each from another address of loopback, as fast as it is told and as
// half a processor goes. Nobody reads what comes back.
type flooder struct {
	conn *net.UDPConn
	to   netip.AddrPort
}

func newFlooder(to netip.AddrPort) (*flooder, error) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, fmt.Errorf("bench: flood: %w", err)
	}
	_ = conn.SetReadBuffer(1) // answers are dropped at once
	return &flooder{conn: conn, to: to}, nil
}

// run floods until ctx ends, with rate datagrams a second; 0: as fast as may be. It returns
// how many it has sent, and its share of a processor.
func (f *flooder) run(ctx context.Context, rate float64) (sent int, share float64, err error) {
	runtime.LockOSThread() // whose processor time is looked at
	defer runtime.UnlockOSThread()
	pci, err := (&pana.Message{Type: pana.TypePCI, Flags: pana.FlagE}).AppendBinary(nil)
	if err != nil {
		return 0, 0, err
	}
	batch := make([]ipv4.Message, floodBatch)
	for i := range batch {
		batch[i] = ipv4.Message{Buffers: [][]byte{pci}, Addr: net.UDPAddrFromAddrPort(f.to)}
	}
	conn := ipv4.NewPacketConn(f.conn)
	idle, err := threadCPU()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	var busy time.Duration
	for ctx.Err() == nil {
		for i := range batch {
			n := rand.Uint32()
			src := net.IPv4(127, byte(2+n>>24%120), byte(n>>16), byte(n>>8)|1)
			batch[i].OOB = (&ipv4.ControlMessage{Src: src}).Marshal()
		}
		n, err := conn.WriteBatch(batch, 0)
		if err != nil {
			return sent, 0, fmt.Errorf("bench: flood: %w", err)
		}
		sent += n
		now, err := threadCPU()
		if err != nil {
			return sent, 0, err
		}
		busy = now - idle
		wait := time.Duration(float64(busy)/floodShare) - time.Since(began)
		if rate > 0 {
			wait = max(wait, time.Duration(float64(sent)/rate*float64(time.Second))-time.Since(began))
		}
		if wait > 0 {
			time.Sleep(wait)
		}
	}
	return sent, float64(busy) / float64(time.Since(began)), nil
}

// threadCPU is the processor time of the calling thread.
func threadCPU() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

func (f *flooder) close() { _ = f.conn.Close() }
