package mn

import (
	"errors"
	"fmt"
	"time"

	"openmpa/internal/host"
	"openmpa/internal/state"
)

const keyPort = "mn/port/" // and the interface's name

// portRecord is what the node has changed of an interface, which a crash must not
// leave. It is on record before the change.
type portRecord struct {
	Name      string `json:"name"`
	Raised    bool   `json:"raised,omitempty"`     // it was down
	ARPIgnore *int   `json:"arp_ignore,omitempty"` // what it was

	IPv6 map[string]string `json:"ipv6,omitempty"` // settings of the kernel's for it, what they were
}

// nothing says that nothing is changed.
func (r portRecord) nothing() bool { return !r.Raised && r.ARPIgnore == nil && len(r.IPv6) == 0 }

// note puts what is about to be changed on record, or what no longer is.
func (p *port) note(r portRecord) error {
	p.changed = r
	if r.nothing() {
		err := p.n.cfg.State.Delete(keyPort + p.name)
		if errors.Is(err, state.ErrNotFound) {
			err = nil
		}
		return err
	}
	_, err := state.PutJSON(p.n.cfg.State, keyPort+p.name, r, time.Time{})
	return err
}

// raise sets the interface up, if it is down. fresh says that it was.
func (p *port) raise() (fresh bool, err error) {
	l, err := p.n.net.LinkByName(p.name)
	if err != nil || l.Up {
		return false, err
	}
	r := p.changed
	r.Raised = true
	if err := p.note(r); err != nil {
		return false, err
	}
	return true, p.n.net.SetUp(p.name, true)
}

// lower sets an interface down again that the node has set up.
func (p *port) lower() {
	if !p.changed.Raised {
		return
	}
	err := p.n.net.SetUp(p.name, false)
	if err == nil {
		r := p.changed
		r.Raised = false
		err = p.note(r)
	}
	if err != nil {
		p.n.cfg.Log.Error("interface not set down again", "interface", p.name, "err", err)
	}
}

// rest sets down what was set up for a move, and does not serve. The caller has the
// turn.
func (n *Node) rest() {
	serving := n.servingPort()
	for _, p := range n.ports {
		if p.atMove && p != serving {
			p.lower()
		}
	}
}

// answerStrictly has the kernel answer ARP requests on the interface for its own
// addresses only: an address that is prepared, or that of the other interface, would be
// drawn here.
func (p *port) answerStrictly() error {
	mode, err := p.n.net.ARPIgnore(p.name)
	if err != nil || mode != 0 {
		return err // somebody has seen to it
	}
	r := p.changed
	r.ARPIgnore = &mode
	if err := p.note(r); err != nil {
		return err
	}
	return p.n.net.SetARPIgnore(p.name, 1)
}

// quietKeys are what the kernel is not to do by itself where the node takes IPv6 addresses:
// to follow the router of whatever link it is on; and to have no IPv6. All are to be 0.
var quietKeys = []string{"accept_ra", "autoconf", "disable_ipv6"}

// quiet has the kernel keep out of IPv6 configuration on the interface.
func (p *port) quiet(h host.IPv6) error {
	r := p.changed
	r.IPv6 = map[string]string{}
	for _, key := range quietKeys {
		was, err := h.Sysctl(p.key6(key))
		if err != nil {
			return fmt.Errorf("is IPv6 there? %w", err)
		}
		if was != "0" {
			r.IPv6[key] = was
		}
	}
	if err := p.note(r); err != nil {
		return err
	}
	for _, key := range quietKeys {
		if r.IPv6[key] == "" {
			continue
		}
		if err := h.WriteSysctl(p.key6(key), "0"); err != nil {
			return err
		}
	}
	return nil
}

func (p *port) key6(name string) string { return key6(p.name, name) }

func key6(dev, name string) string { return "net/ipv6/conf/" + dev + "/" + name }

// putBack undoes what the node has changed of the interface.
func (p *port) putBack() {
	p.lower()
	if p.changed.ARPIgnore == nil && len(p.changed.IPv6) == 0 {
		return
	}
	var err error
	if mode := p.changed.ARPIgnore; mode != nil {
		err = p.n.net.SetARPIgnore(p.name, *mode)
	}
	if h, ok := p.n.net.(host.IPv6); ok {
		for key, was := range p.changed.IPv6 {
			err = errors.Join(err, h.WriteSysctl(p.key6(key), was))
		}
	}
	if err == nil {
		err = p.note(portRecord{Name: p.name, Raised: p.changed.Raised})
	}
	if err != nil {
		p.n.cfg.Log.Error("setting of an interface not put back", "interface", p.name, "err", err)
	}
}

// putBackAll undoes what a node before us has changed of interfaces, and did not put
// back.
func (n *Node) putBackAll() error {
	items, err := state.ListJSON[portRecord](n.cfg.State, keyPort)
	if err != nil {
		return err
	}
	for _, i := range items {
		n.cfg.Log.Info("putting back what an earlier run has changed", "interface", i.Value.Name, "raised", i.Value.Raised)
		p := &port{n: n, name: i.Value.Name, changed: i.Value}
		if _, err := n.net.LinkByName(p.name); err != nil { // gone, and all that was set with it
			err = p.note(portRecord{Name: p.name})
			if err != nil {
				return err
			}
			continue
		}
		p.putBack()
	}
	return nil
}
