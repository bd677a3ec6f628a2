// Package pac has nodes that pre-authenticate by EAP-TLS, as mpa-mn does, for benches. It is
// apart from them so that the process that is measured loads what mpa-mn does, and no more.
//
//	mpa-lab-node '{...}'   Nodes as JSON; stdout: Took when all is over
package pac

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/aaa/eap"
	"openmpa/paa/keys"
	"openmpa/paa/pana"
)

// Nodes are some that authenticate.
type Nodes struct {
	PAA         netip.AddrPort `json:"paa"`
	From        []netip.Addr   `json:"from"`     // addresses of nodes, which take turns
	Loopback    int            `json:"loopback"` // so many of the loopback interface in their place
	Parallel    int            `json:"parallel"` // nodes at a time
	Identity    string         `json:"identity"`
	CA          string         `json:"ca"` // files
	Certificate string         `json:"certificate"`
	Key         string         `json:"key"`
	ServerName  string         `json:"server_name"`
	TLS         string         `json:"tls"` // "1.2" or "1.3"
	Fragment    int            `json:"fragment"`
	Resume      bool           `json:"resume"`
	Times       int            `json:"times"` // of all authentications; 0: for as long as For
	For         time.Duration  `json:"for"`   // no authentication begins after it; 0: as often as Times
	Pause       time.Duration  `json:"pause"` // before each but the first
	Stay        bool           `json:"stay"`  // sessions are left open
}

// Took is how long authentications took, from the first PCI to the open session.
type Took struct {
	Took   []time.Duration `json:"took"`
	Span   time.Duration   `json:"span"` // from the begin of the first to the end of the last
	Failed []string        `json:"failed,omitempty"`
}

// Loopback are addresses of a network of the loopback interface, 127.network.0.0/16.
func Loopback(network byte, number int) (list []netip.Addr) {
	for i := range number {
		list = append(list, netip.AddrFrom4([4]byte{127, network, byte(i >> 7), byte(2*i) | 1}))
	}
	return list
}

// versionsOfTLS are the names that benches have for them.
var versionsOfTLS = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// peer is what the nodes authenticate by.
func (e *Nodes) peer() (cfg eap.PeerConfig, err error) {
	cert, err := tls.LoadX509KeyPair(e.Certificate, e.Key)
	if err != nil {
		return cfg, fmt.Errorf("pac: %w", err)
	}
	pem, err := os.ReadFile(e.CA)
	if err != nil {
		return cfg, fmt.Errorf("pac: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return cfg, fmt.Errorf("pac: no certificate in %s", e.CA)
	}
	v, ok := versionsOfTLS[e.TLS]
	if !ok {
		return cfg, fmt.Errorf("pac: TLS %q, expected 1.2 or 1.3", e.TLS)
	}
	return eap.PeerConfig{
		Identity: e.Identity, FragmentSize: e.Fragment,
		TLS: eap.TLSConfig{Roots: roots, ServerName: e.ServerName, Certificate: cert, MinVersion: v, MaxVersion: v},
	}, nil
}

// Run authenticates.
func (e *Nodes) Run(ctx context.Context, out io.Writer) error {
	cfg, err := e.peer()
	if err != nil {
		return err
	}
	if e.Resume {
		cfg.TLS.SessionCache = tls.NewLRUClientSessionCache(0)
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		took Took
	)
	if e.Loopback > 0 {
		e.From = Loopback(1, e.Loopback)
	}
	var turn atomic.Int64
	began := time.Now()
	for range e.Parallel {
		wg.Go(func() {
			for ctx.Err() == nil && (e.For == 0 || time.Since(began) < e.For) {
				i := int(turn.Add(1)) - 1
				if e.Times > 0 && i >= e.Times {
					return
				}
				if i > 0 && e.Pause > 0 {
					select {
					case <-ctx.Done():
						return
					case <-time.After(e.Pause):
					}
				}
				d, err := e.preauth(ctx, e.From[i%len(e.From)], cfg)
				mu.Lock()
				if err != nil {
					took.Failed = append(took.Failed, err.Error())
				} else {
					took.Took = append(took.Took, d)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	took.Span = time.Since(began)
	if err := json.NewEncoder(out).Encode(took); err != nil {
		return fmt.Errorf("pac: %w", err)
	}
	return nil
}

// preauth is one pre-authentication, and its end, which is not measured.
func (e *Nodes) preauth(ctx context.Context, from netip.Addr, cfg eap.PeerConfig) (took time.Duration, err error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return 0, fmt.Errorf("pac: %w", err)
	}
	var openAt atomic.Int64
	opened, closed := make(chan struct{}), make(chan error, 1)
	began := time.Now()
	c, err := pana.Dial(ctx, conn, e.PAA, pana.PaCConfig{
		Preauth: true, NewEAP: func() (pana.EAPPeer, error) { return eap.NewPeer(cfg) },
	}, func(o pana.Output) {
		switch o := o.(type) {
		case pana.Opened:
			openAt.Store(int64(time.Since(began)))
			k := keys.DeriveSession(o.PRF, o.MSK.Bytes(), o.SID, o.KeyID, "", "")
			k.Clear()
			o.MSK.Clear()
			close(opened)
		case pana.Closed:
			closed <- o.Reason
		}
	})
	if err != nil {
		return 0, errors.Join(err, conn.Close())
	}
	defer c.Close()
	select {
	case <-opened:
	case err := <-closed:
		return 0, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if e.Stay {
		// What it still has to send has left behind this.
		if err := c.Do(func(time.Time, *pana.PaC) {}); err != nil {
			return 0, err
		}
		return time.Duration(openAt.Load()), nil
	}
	if err := c.Post(func(now time.Time, p *pana.PaC) { p.Terminate(now) }); err != nil {
		return 0, err
	}
	select {
	case <-closed:
	case <-ctx.Done():
	}
	return time.Duration(openAt.Load()), nil
}
