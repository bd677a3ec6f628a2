package diameter

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// eventOf says what a message is to the connection it comes on.
func eventOf(h *diam.Header) linkEvent {
	request := h.CommandFlags&diam.RequestFlag != 0
	if h.ApplicationID == appBase {
		switch h.CommandCode {
		case cmdCapabilities:
			if request {
				return gotCER
			}
			return gotCEA
		case cmdWatchdog:
			if request {
				return gotDWR
			}
			return gotDWA
		case cmdDisconnect:
			if request {
				return gotDPR
			}
			return gotDPA
		}
	}
	if request {
		return gotRequest
	}
	return gotAnswer
}

// frame is one message of the peer.
func (c *conn) frame(b []byte) {
	c.n.count.received.Add(1)
	m, f := parse(b, c.n.cfg.Dict)
	if m == nil {
		c.end(f)
		return
	}
	e := eventOf(m.Header)
	if f == nil && e <= gotDPA && m.Header.CommandFlags&diam.ErrorFlag == 0 {
		f = c.n.rules.check(m)
	}
	was := c.link
	if was == linkOpen {
		c.watch(c.n.watchReceived(c.peer, c, time.Now(), e == gotDWA && f == nil))
		if c.link == linkClosed {
			return
		}
		c.n.noteState(c.peer, m)
	}
	var do linkAction
	c.link, do = was.next(e)
	switch do {
	case takeCER:
		c.capabilities(m, f)
	case takeCEA:
		c.accepted(m, f)
	case answerDWR:
		a := c.reply(m, f)
		builder{a}.number(avp.OriginStateID, c.n.self.state)
		c.push(a)
	case noteDWA:
		if f != nil {
			c.n.count.malformed.Add(1)
		}
	case answerDPR:
		c.goodbye(m, f)
	case process:
		c.request(m, f)
	case refuse:
		c.push(c.n.self.refusal(m, &Fault{Code: diam.UnableToDeliver, Why: "this node is leaving"}))
	case deliver:
		c.deliver(m, f)
	case hangUp:
		c.end(fmt.Errorf("command %d (%s) in state %s, expected %s", m.Header.CommandCode, m.Header.String(), was, expected(was)))
	case ignore:
		c.n.count.unsolicited.Add(1)
	}
}

// expected says what a state waits for, for an error.
func expected(s linkState) string {
	switch s {
	case linkWaitCER:
		return "a Capabilities-Exchange-Request"
	case linkWaitCEA:
		return "a Capabilities-Exchange-Answer"
	}
	return "anything else"
}

// reply answers a request between peers.
func (c *conn) reply(m *diam.Message, f *Fault) *diam.Message {
	if f != nil {
		c.n.count.malformed.Add(1)
		return c.n.self.refusal(m, f)
	}
	return c.n.self.answer(m, diam.Success)
}

// capabilities is Process-CER and Snd-CEA.
func (c *conn) capabilities(m *diam.Message, f *Fault) {
	o := readOffer(m)
	var p *peer
	if f == nil {
		p, f = c.n.admit(c, o)
	}
	if f == nil && p == nil { // R-Reject, or an election was lost
		c.end(fmt.Errorf("%s is connected already", o.host))
		return
	}
	a := c.reply(m, f)
	c.n.self.capabilities(a, addrOf(c.raw.LocalAddr()))
	c.push(a)
	if f != nil {
		c.n.count.refused.Add(1)
		c.n.cfg.Log.Warn("diameter: peer refused", "peer", clip(o.host), "from", c.raw.RemoteAddr(), "why", f.Why)
		c.end(f)
		return
	}
	c.peer = p
	c.known()
	c.opened = true
	c.watch(c.n.opened(p, c, o))
}

// accepted is Process-CEA.
func (c *conn) accepted(m *diam.Message, f *Fault) {
	o := readOffer(m)
	text := clip(fields(m.AVP).text(avp.ErrorMessage))
	switch code := resultCode(m); {
	case f != nil:
		c.end(fmt.Errorf("its Capabilities-Exchange-Answer: %w", f))
	case code != diam.Success:
		c.end(&refusedError{code: code, text: text})
	case o.host != c.peer.name:
		c.end(fmt.Errorf("it calls itself %s, expected %s: is the address right?", o.host, c.peer.name))
	case c.peer.cfg.Realm != "" && o.realm != c.peer.cfg.Realm:
		c.end(fmt.Errorf("it is of realm %s, expected %s", o.realm, c.peer.cfg.Realm))
	case !o.common(&c.n.self):
		c.end(&refusedError{code: diam.NoCommonApplication, text: fmt.Sprintf("it offers applications %v and %v", o.auth, o.acct)})
	case !c.n.keep(c.peer, c, o):
		c.end(fmt.Errorf("%s has connected to us meanwhile", c.peer.name))
	default:
		c.opened = true
		c.watch(c.n.opened(c.peer, c, o))
	}
}

// refusedError says that a peer does not want us: asking again soon is no use.
type refusedError struct {
	code uint32
	text string
}

func (e *refusedError) Error() string {
	s := fmt.Sprintf("it refuses us with result %d", e.code)
	switch e.code {
	case diam.UnknownPeer:
		s += " (unknown peer): our identity must be among its peers"
	case diam.NoCommonApplication:
		s += " (no common application): it must serve EAP (5) or accounting (3)"
	case diam.NoCommonSecurity:
		s += " (no common security): it wants TLS"
	}
	if e.text != "" {
		s += fmt.Sprintf(": %q", e.text)
	}
	return s
}

// goodbye is Rcv-DPR.
func (c *conn) goodbye(m *diam.Message, f *Fault) {
	c.push(c.reply(m, f))
	n, _ := fields(m.AVP).number(avp.DisconnectCause)
	c.n.leaving(c.peer, c)
	c.hello = time.Now().Add(leaveTime)
	if c.link == linkLeaving {
		c.why = &leftError{disconnectCause(n)}
		c.abandon(errLeaves)
	}
}

// leftError says that a peer has gone with a goodbye.
type leftError struct{ cause disconnectCause }

func (e *leftError) Error() string { return "it has said goodbye: " + e.cause.String() }

// Is makes it errLeaves.
func (e *leftError) Is(target error) bool { return target == errLeaves }

// request is a request for the applications.
func (c *conn) request(m *diam.Message, f *Fault) {
	n := c.n
	if f = n.acceptable(m, f); f != nil {
		n.count.refusedRequests.Add(1)
		n.cfg.Log.Debug("diameter: request refused", "peer", c.peer.name, "command", m.Header.CommandCode, "result", f.Code, "why", f.Why)
		c.push(n.self.refusal(m, f))
		return
	}
	select {
	case c.handlers <- struct{}{}:
	default:
		n.count.tooBusy.Add(1)
		c.push(n.self.refusal(m, &Fault{Code: diam.TooBusy, Why: "too many requests at once"}))
		return
	}
	n.work.Go(func() {
		defer func() { <-c.handlers }()
		if a := n.serve(c.peer.name, m); a != nil && !c.push(a) {
			n.count.answersLost.Add(1)
		}
	})
}

// acceptable is what there is to check of a request before its handler sees it, given
// what parsing has found.
func (n *Node) acceptable(m *diam.Message, f *Fault) *Fault {
	h := m.Header
	switch {
	case h.CommandFlags&diam.ErrorFlag != 0:
		return &Fault{Code: diam.InvalidHDRBits, Why: "a request with the E bit"}
	case !n.serves(h.ApplicationID):
		return &Fault{Code: diam.ApplicationUnsupported, Why: fmt.Sprintf("application %d is not served here", h.ApplicationID)}
	}
	if missing := n.rules.check(m); f == nil || missing != nil && missing.Code == diam.CommandUnsupported {
		f = missing
	}
	if f != nil {
		return f
	}
	for _, r := range fields(m.AVP).all(avp.RouteRecord) {
		if strings.EqualFold(string(r), n.self.identity) {
			return &Fault{Code: diam.LoopDetected, Why: "it has been here already"}
		}
	}
	if to := fields(m.AVP).text(avp.DestinationHost); to != "" && !strings.EqualFold(to, n.self.identity) {
		return &Fault{Code: diam.UnableToDeliver, Why: fmt.Sprintf("this is %s, and it does not relay to %s", n.self.identity, to)}
	}
	return nil
}

// serve has a request answered, or answers it as it was answered before.
func (n *Node) serve(from string, m *diam.Message) *diam.Message {
	e, again := n.seen.begin(m, time.Now())
	if again {
		n.count.duplicates.Add(1)
		select {
		case <-e.done:
		case <-n.ctx.Done():
			return nil
		}
		a := e.answerTo(m)
		if a != nil {
			n.self.finish(m, a)
		}
		return a
	}
	var a *diam.Message
	if n.cfg.Handler != nil {
		a = n.cfg.Handler(n.ctx, from, m)
	}
	if a == nil {
		n.seen.forget(e)
		n.count.tooBusy.Add(1)
		return n.self.refusal(m, &Fault{Code: diam.TooBusy, Why: "not now"})
	}
	n.seen.finish(e, a)
	out := *a
	n.self.finish(m, &out)
	return &out
}

// why shortens the reason of an end, for the status.
func why(err error) string {
	if err == nil {
		return ""
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		return refused.Error()
	}
	return err.Error()
}
