package par

import (
	"errors"
	"fmt"
	"io"

	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/tunnel/esp"
)

// association is the router's side of a security association that was just agreed on.
type association struct {
	r     *Router
	pair  esp.Pair
	spi   uint32 // of pair.In
	nonce []byte
	suite esp.Transform
}

// release gives the SPI back, unless a tunnel has taken it.
func (a *association) release() { a.r.endpoint.ReleaseSPI(a.spi) }

// associate makes the router's halves of an association with a node that named its
// suites, SPI and nonce. The caller holds mu, and releases it in the end.
func (v *visitor) associate(suites []uint8, spi uint32, nonce []byte) (a *association, err error) {
	r := v.r
	a = &association{r: r, nonce: make([]byte, 32)}
	if len(suites) == 0 {
		suites = esp.Offer(r.cfg.Suites)
	}
	if a.suite = esp.Choose(suites, r.cfg.Suites); a.suite == 0 {
		return nil, fmt.Errorf("none of the suites %v is allowed here: expected one of %v", suites, r.cfg.Suites)
	}
	if _, err := io.ReadFull(r.cfg.Rand, a.nonce); err != nil {
		return nil, err
	}
	if a.spi, err = r.endpoint.AllocateSPI(r.cfg.Rand); err != nil {
		return nil, err
	}
	k := keys.DeriveESP(v.keys.MNAR.Bytes(), nonce, a.nonce, a.spi, spi, a.suite.MaterialLen())
	defer k.Clear()
	if a.pair, err = a.suite.NewPair(a.spi, k.ToRouter, spi, k.ToNode); err != nil {
		a.release()
		return nil, err
	}
	return a, nil
}

// rekey answers a RekeyRequest: the tunnel accepts by the successor from here on.
func (v *visitor) rekey(m *notify.RekeyRequest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	reply, err := v.successor(m)
	if err != nil {
		v.r.cfg.Log.Warn("security association not replaced", "sid", v.sid, "err", err)
		reply = &notify.RekeyReply{Header: m.Header, Reason: err.Error()}
	}
	v.r.send(v.sid, reply)
}

// successor offers one to the tunnel. A node that asks anew has not got, or cannot use,
// what was offered before; one that uses it already names another SPI as the old one.
// The caller holds mu.
func (v *visitor) successor(m *notify.RekeyRequest) (*notify.RekeyReply, error) {
	switch {
	case v.tunnel == nil:
		return nil, errors.New("there is no tunnel: create one")
	case v.tunnel.SPI() != m.Old:
		return nil, fmt.Errorf("the association in use is not %#08x: ask again when packets have come by the present one", m.Old)
	}
	a, err := v.associate(m.Suites, m.SPI, m.Nonce)
	if err != nil {
		return nil, err
	}
	defer a.release()
	v.tunnel.Abandon()
	if err := v.tunnel.Offer(a.pair); err != nil {
		return nil, err
	}
	v.r.cfg.Log.Debug("successor of a security association", "sid", v.sid, "old", m.Old, "new", a.spi, "suite", a.suite)
	return &notify.RekeyReply{Header: m.Header, Old: m.Old, SPI: a.spi, Nonce: a.nonce, Suite: uint8(a.suite)}, nil
}

// successorDue has the node ask for a successor: a limit of this router's is near.
func (v *visitor) successorDue() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.tunnel == nil {
		return
	}
	v.r.send(v.sid, &notify.RekeyDue{Header: notify.Header{Handover: v.handover}, Old: v.tunnel.SPI()})
}
