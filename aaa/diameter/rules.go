package diameter

import (
	"fmt"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/dict"
)

// rule is how often an AVP may be in a message.
type rule struct {
	def      *dict.AVP
	min, max int // max 0: any number
}

// ruleKey is a kind of message.
type ruleKey struct {
	app, cmd uint32
	request  bool
}

// rules are what a dictionary says of its commands, of the base protocol's in each of its
// applications.
type rules map[ruleKey][]rule

func newRules(d *dict.Parser) rules {
	out := make(rules)
	for _, app := range d.Apps() {
		for _, commands := range d.Apps() {
			if commands.ID != app.ID && commands.ID != appBase {
				continue
			}
			for _, cmd := range commands.Command {
				k := ruleKey{app.ID, cmd.Code, true}
				if _, own := out[k]; own && commands.ID != app.ID {
					continue
				}
				out[k] = compile(d, app.ID, cmd.Request.Rule)
				k.request = false
				out[k] = compile(d, app.ID, cmd.Answer.Rule)
			}
		}
	}
	return out
}

func compile(d *dict.Parser, app uint32, list []*dict.Rule) []rule {
	var out []rule
	for _, r := range list {
		def, err := d.FindAVPWithVendor(app, r.AVP, dict.UndefinedVendorID)
		if err != nil {
			continue // "AVP": any
		}
		x := rule{def, r.Min, r.Max}
		if r.Required {
			x.min = max(x.min, 1)
		}
		out = append(out, x)
	}
	return out
}

// check checks how often AVPs are there: 5005 for one that is missing, 5009 for one too
// many.
func (r rules) check(m *diam.Message) *Fault {
	list, ok := r[ruleKey{m.Header.ApplicationID, m.Header.CommandCode, m.Header.CommandFlags&diam.RequestFlag != 0}]
	if !ok {
		return &Fault{Code: diam.CommandUnsupported, Why: fmt.Sprintf("command %d of application %d is unknown", m.Header.CommandCode, m.Header.ApplicationID)}
	}
	for _, x := range list {
		var last *diam.AVP
		n := 0
		for _, a := range m.AVP {
			if a.Code == x.def.Code && a.VendorID == x.def.VendorID {
				n, last = n+1, a
			}
		}
		switch {
		case n < x.min:
			flags := uint8(0)
			if x.def.VendorID == 0 {
				flags = avp.Mbit
			}
			return &Fault{Code: diam.MissingAVP, Failed: emptyAVP(x.def.Code, flags, x.def.VendorID, x.def), Why: x.def.Name + " is missing"}
		case x.max > 0 && n > x.max:
			return &Fault{Code: diam.AVPOccursTooManyTimes, Failed: last, Why: fmt.Sprintf("%s is there %d times, expected at most %d", x.def.Name, n, x.max)}
		}
	}
	return nil
}

// resultCode is the Result-Code of an answer, or of its Experimental-Result; 0: none.
func resultCode(m *diam.Message) uint32 {
	if n, ok := fields(m.AVP).number(avp.ResultCode); ok {
		return n
	}
	for _, a := range m.AVP {
		if g, ok := a.Data.(*diam.GroupedAVP); ok && a.Code == avp.ExperimentalResult && a.VendorID == 0 {
			n, _ := fields(g.AVP).number(avp.ExperimentalResultCode)
			return n
		}
	}
	return 0
}
