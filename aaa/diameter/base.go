package diameter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
)

// Commands between two peers.
const (
	cmdCapabilities = diam.CapabilitiesExchange
	cmdWatchdog     = diam.DeviceWatchdog
	cmdDisconnect   = diam.DisconnectPeer
)

// productName tells peers what they talk to (RFC 6733 section 5.3.7).
const productName = "openmpa"

// disconnectCause is why a node says goodbye (RFC 6733 section 5.4.3).
type disconnectCause int32

const (
	causeRebooting disconnectCause = iota
	causeBusy
	causeNoTalk
)

func (c disconnectCause) String() string {
	switch c {
	case causeRebooting:
		return "rebooting"
	case causeBusy:
		return "busy"
	case causeNoTalk:
		return "does not want to talk to us"
	}
	return fmt.Sprintf("cause %d", int32(c))
}

// self is what a node says of itself in every message between peers.
type self struct {
	identity, realm string
	state           uint32 // Origin-State-Id: greater at each start
	auth, acct      []uint32
	dict            *dict.Parser
}

// request begins a request between peers.
func (s *self) request(cmd uint32) *diam.Message {
	m := diam.NewMessage(cmd, diam.RequestFlag, appBase, 1, 1, s.dict)
	s.origin(m)
	return m
}

// origin says who speaks, unless the message does already.
func (s *self) origin(m *diam.Message) {
	b, f := builder{m}, fields(m.AVP)
	if _, ok := f.first(avp.OriginHost); !ok {
		b.identity(avp.OriginHost, s.identity)
	}
	if _, ok := f.first(avp.OriginRealm); !ok {
		b.identity(avp.OriginRealm, s.realm)
	}
}

// capabilities adds what CER and CEA have in common (RFC 6733 section 5.3).
func (s *self) capabilities(m *diam.Message, local netip.Addr) {
	b := builder{m}
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
	}
	b.put(avp.HostIPAddress, datatype.Address(local.Unmap().AsSlice()))
	b.number(avp.VendorID, 0)
	b.text(avp.ProductName, productName)
	b.number(avp.OriginStateID, s.state)
	for _, id := range s.auth {
		b.number(avp.AuthApplicationID, id)
	}
	for _, id := range s.acct {
		b.number(avp.AcctApplicationID, id)
	}
	b.number(avp.FirmwareRevision, 1)
}

// cer is our Capabilities-Exchange-Request.
func (s *self) cer(local netip.Addr) *diam.Message {
	m := s.request(cmdCapabilities)
	s.capabilities(m, local)
	return m
}

// dwr is our Device-Watchdog-Request.
func (s *self) dwr() *diam.Message {
	m := s.request(cmdWatchdog)
	builder{m}.number(avp.OriginStateID, s.state)
	return m
}

// dpr is our Disconnect-Peer-Request.
func (s *self) dpr(c disconnectCause) *diam.Message {
	m := s.request(cmdDisconnect)
	builder{m}.enum(avp.DisconnectCause, int32(c))
	return m
}

// answer begins the answer to a request (RFC 6733 section 6.2): its Session-Id first,
// its Proxy-Info, who we are, and the E bit with a protocol error.
func (s *self) answer(req *diam.Message, code uint32) *diam.Message {
	m := req.Answer(0)
	b := builder{m}
	if id, ok := fields(req.AVP).first(avp.SessionID); ok {
		b.put(avp.SessionID, datatype.UTF8String(id))
	}
	b.number(avp.ResultCode, code)
	s.finish(req, m)
	return m
}

// finish makes an answer fit its request, whoever has begun it.
func (s *self) finish(req, m *diam.Message) {
	flags := req.Header.CommandFlags & diam.ProxiableFlag
	if code := resultCode(m); code >= 3000 && code < 4000 || m.Header.CommandFlags&diam.ErrorFlag != 0 {
		flags |= diam.ErrorFlag
	}
	h := *req.Header
	h.CommandFlags = flags
	m.Header = &h
	s.origin(m)
	if _, ok := fields(m.AVP).first(avp.ProxyInfo); !ok {
		for _, a := range req.AVP {
			if a.Code == avp.ProxyInfo && a.VendorID == 0 {
				m.AVP = append(m.AVP, a)
			}
		}
	}
	m.Header.MessageLength = uint32(m.Len())
}

// refusal answers a request with a Fault.
func (s *self) refusal(req *diam.Message, f *Fault) *diam.Message {
	m := s.answer(req, f.Code)
	b := builder{m}
	b.text(avp.ErrorMessage, f.Why)
	if f.Failed != nil {
		b.put(avp.FailedAVP, &diam.GroupedAVP{AVP: []*diam.AVP{f.Failed}})
	}
	return m
}

// offer is what a peer has said of itself in CER or CEA.
type offer struct {
	host, realm string
	product     string
	state       uint32
	auth, acct  []uint32
	relay       bool // takes any application
	onlyTLS     bool // wants TLS to begin within the connection (RFC 6733 section 13.1, gone since)
}

// readOffer reads a CER or CEA.
func readOffer(m *diam.Message) offer {
	f := fields(m.AVP)
	o := offer{host: strings.ToLower(f.text(avp.OriginHost)), realm: strings.ToLower(f.text(avp.OriginRealm)), product: clip(f.text(avp.ProductName))}
	o.state, _ = f.number(avp.OriginStateID)
	o.apps(f)
	for _, a := range m.AVP {
		if g, ok := a.Data.(*diam.GroupedAVP); ok && a.Code == avp.VendorSpecificApplicationID && a.VendorID == 0 {
			o.apps(g.AVP)
		}
	}
	if list := f.all(avp.InbandSecurityID); len(list) > 0 {
		o.onlyTLS = !slices.ContainsFunc(list, func(v []byte) bool { return string(v) == "\x00\x00\x00\x00" })
	}
	return o
}

func (o *offer) apps(f fields) {
	for _, a := range f {
		v, ok := a.Data.(datatype.Unsigned32)
		if !ok || a.VendorID != 0 {
			continue
		}
		switch a.Code {
		case avp.AuthApplicationID:
			o.auth = append(o.auth, uint32(v))
		case avp.AcctApplicationID:
			o.acct = append(o.acct, uint32(v))
		default:
			continue
		}
		o.relay = o.relay || v == appRelay
	}
}

// takes says whether the peer serves an application.
func (o *offer) takes(app uint32) bool {
	return o.relay || slices.Contains(o.auth, app) || slices.Contains(o.acct, app)
}

// common says whether there is an application that both have.
func (o *offer) common(s *self) bool {
	return slices.ContainsFunc(s.auth, o.takes) || slices.ContainsFunc(s.acct, o.takes)
}
