package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
)

// Errors of this package besides those of esp and bind.
var (
	ErrClosed   = errors.New("tunnel: closed")
	ErrSPIInUse = errors.New("tunnel: a tunnel with this SPI exists")
	ErrNoPeer   = errors.New("tunnel: the peer's outer address is not known yet, nothing has arrived from it")
)

// Endpoint owns sockets and the tunnels behind them. Its methods may be called
// concurrently.
type Endpoint struct {
	log *slog.Logger // fixed after NewEndpoint
	wg  sync.WaitGroup

	before, after func() // fixed before the first Listen; may be nil

	dropped drops         // atomic; of all sockets and tunnels there ever were
	late    atomic.Uint64 // see Late
	corked  atomic.Int64  // atomic; how many hold it so

	flushing  sync.Mutex // held while what is queued is sent
	spare     []*Tunnel  // guarded by flushing
	pendingMu sync.Mutex
	pending   []*Tunnel // guarded by pendingMu: something is queued

	mu      sync.RWMutex
	bySPI   map[uint32]*Tunnel // guarded by mu; nil: reserved by AllocateSPI
	sockets map[*Socket]bool   // guarded by mu
	plain   map[*Plain]bool    // guarded by mu
	closed  bool               // guarded by mu
}

// NewEndpoint makes an endpoint without sockets and tunnels. log may be nil.
func NewEndpoint(log *slog.Logger) *Endpoint {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Endpoint{log: log, bySPI: map[uint32]*Tunnel{}, sockets: map[*Socket]bool{}, plain: map[*Plain]bool{}}
}

// Listen opens a UDP socket on local in the calling thread's network namespace
// and starts to read it. device, if not empty, is the only interface it uses.
func (e *Endpoint) Listen(local netip.AddrPort, device string) (*Socket, error) {
	return e.ListenWith(local, bind.Options{Device: device})
}

// ListenWith is Listen with all the options of a socket.
func (e *Endpoint) ListenWith(local netip.AddrPort, o bind.Options) (*Socket, error) {
	udp, err := bind.OpenUDP(local, o)
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	return e.Attach(udp)
}

// Attach begins to read udp, which belongs to the endpoint from then on: it is
// closed in the end, and after an error.
func (e *Endpoint) Attach(udp UDP) (*Socket, error) {
	s := &Socket{e: e, udp: udp, done: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = udp.Close()
		return nil, ErrClosed
	}
	e.sockets[s] = true
	e.wg.Add(1)
	go s.run()
	return s, nil
}

// AllocateSPI draws from rnd (crypto/rand.Reader outside tests) an SPI that no
// tunnel of this endpoint has, and reserves it until Add or ReleaseSPI.
func (e *Endpoint) AllocateSPI(rnd io.Reader) (uint32, error) {
	const tries = 64
	for range tries {
		var b [4]byte
		if _, err := io.ReadFull(rnd, b[:]); err != nil {
			return 0, fmt.Errorf("tunnel: allocate an SPI: read random octets: %w", err)
		}
		spi := binary.BigEndian.Uint32(b[:])
		if spi < esp.MinSPI {
			continue
		}
		if ok, err := e.reserve(spi); ok || err != nil {
			return spi, err
		}
	}
	return 0, fmt.Errorf("tunnel: allocate an SPI: %d draws gave none that is free; is the random source broken?", tries)
}

func (e *Endpoint) reserve(spi uint32) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false, ErrClosed
	}
	if _, used := e.bySPI[spi]; used {
		return false, nil
	}
	e.bySPI[spi] = nil
	return true, nil
}

// ReleaseSPI gives back an SPI of AllocateSPI for which no tunnel was added.
// The SPI of a tunnel is left alone: Close of the tunnel frees it.
func (e *Endpoint) ReleaseSPI(spi uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, used := e.bySPI[spi]; used && t == nil {
		delete(e.bySPI, spi)
	}
}

// Add makes a tunnel of both halves of a security association and begins to
// receive. Errors match ErrSPIInUse or ErrClosed, or say what is missing.
func (e *Endpoint) Add(cfg TunnelConfig) (*Tunnel, error) {
	if err := cfg.check(e); err != nil {
		return nil, err
	}
	t := newTunnel(e, cfg)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	spi := cfg.In.SPI()
	if e.bySPI[spi] != nil {
		return nil, fmt.Errorf("%w: %#08x", ErrSPIInUse, spi)
	}
	e.bySPI[spi] = t
	if cfg.Plain != nil {
		cfg.Plain.add(t)
	}
	t.startTimers()
	return t, nil
}

// lookup finds the tunnel of an arriving packet.
func (e *Endpoint) lookup(spi uint32) *Tunnel {
	e.mu.RLock()
	t := e.bySPI[spi]
	e.mu.RUnlock()
	return t
}

func (e *Endpoint) remove(t *Tunnel) {
	if t.cfg.Plain != nil {
		t.cfg.Plain.remove(t)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, in := range t.sas.Load().in {
		if e.bySPI[in.SPI()] == t {
			delete(e.bySPI, in.SPI())
		}
	}
}

// Tunnels is the number of tunnels without those that linger.
func (e *Endpoint) Tunnels() int { return e.count(false) }

// Lingering is the number of tunnels that linger.
func (e *Endpoint) Lingering() int { return e.count(true) }

func (e *Endpoint) count(lingering bool) (n int) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for spi, t := range e.bySPI {
		if t != nil && t.SPI() == spi && t.closed.Load() == lingering { // one that rekeys has more
			n++
		}
	}
	return n
}

// Late is how many inner packets have been delivered by tunnels that lingered.
func (e *Endpoint) Late() uint64 { return e.late.Load() }

// Sockets returns the counters of every open socket.
func (e *Endpoint) Sockets() []SocketStats {
	e.mu.RLock()
	open := make([]*Socket, 0, len(e.sockets))
	for s := range e.sockets {
		open = append(open, s)
	}
	e.mu.RUnlock()
	stats := make([]SocketStats, 0, len(open))
	for _, s := range open {
		stats = append(stats, s.Stats())
	}
	return stats
}

// Dropped counts the datagrams that arrived and were not delivered, at every
// socket and tunnel that the endpoint has or had.
func (e *Endpoint) Dropped() map[Reason]uint64 { return e.dropped.counts() }

// Close closes every tunnel and socket and waits until no callback runs; it
// must not be called from one. It may be called again.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	var tunnels []*Tunnel
	for _, t := range e.bySPI {
		if t != nil {
			tunnels = append(tunnels, t)
		}
	}
	clear(e.bySPI)
	var sockets []*Socket
	for s := range e.sockets {
		sockets = append(sockets, s)
	}
	var plain []*Plain
	for p := range e.plain {
		plain = append(plain, p)
	}
	e.mu.Unlock()

	// Sockets first: a sender that waits for room holds up its tunnel's Close.
	var errs []error
	for _, s := range sockets {
		errs = append(errs, s.Close())
	}
	for _, p := range plain {
		errs = append(errs, p.Close())
	}
	for _, t := range tunnels {
		t.Close()
	}
	e.wg.Wait()
	return errors.Join(errs...)
}
