package operators

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"openmpa/aaa"
	"openmpa/internal/config"
)

// List is the key aaa:, at least one operator.
type List []Operator

// Operator is who authenticates the nodes of some realms, by one protocol.
type Operator struct {
	Name     string    `yaml:"name"`   // in events and reports; left out: the protocol
	Realms   []string  `yaml:"realms"` // as of aaa.Operator; left out: every realm that no other one has
	RADIUS   *RADIUS   `yaml:"radius"`
	RadSec   *RadSec   `yaml:"radsec"`
	Diameter *Diameter `yaml:"diameter"`
}

// protocols are those that the operator has servers of; more than one is a mistake.
func (o Operator) protocols() (out []string) {
	if o.RADIUS != nil {
		out = append(out, "radius")
	}
	if o.RadSec != nil {
		out = append(out, "radsec")
	}
	if o.Diameter != nil {
		out = append(out, "diameter")
	}
	return out
}

// carrier makes a client of the servers, which its closer lets go of.
func (o Operator) carrier(opt Options) (aaa.Carrier, io.Closer, error) {
	if o.Diameter != nil {
		client, err := o.Diameter.Client(opt)
		if err != nil {
			return nil, nil, err
		}
		return aaa.NewDiameterCarrier(client), io.NopCloser(nil), nil // it lives as long as the carrier runs
	}
	clientOf := o.RADIUS.Client
	if o.RadSec != nil {
		clientOf = o.RadSec.Client
	}
	client, err := clientOf(opt)
	if err != nil {
		return nil, nil, err
	}
	return aaa.NewRADIUSCarrier(client), client, nil
}

// Check implements the hook of config.Load, and names who has no name.
func (l *List) Check() error {
	if len(*l) == 0 {
		return errors.New("expected at least one operator, with its servers")
	}
	var errs []error
	names, realms := map[string]bool{}, map[string]string{}
	for i := range *l {
		o := &(*l)[i]
		at := func(key string) string { return fmt.Sprintf("[%d]%s", i, key) }
		spoken := o.protocols()
		if len(spoken) != 1 {
			errs = append(errs, config.Errorf(at(""), "expected the protocol and its servers: one of radius, radsec and diameter"))
			continue
		}
		config.Default(&o.Name, spoken[0])
		if names[o.Name] {
			errs = append(errs, config.Errorf(at(".name"), "%q is another one's, too: expected a name of its own", o.Name))
		}
		names[o.Name] = true
		mine := o.Realms
		if len(mine) == 0 {
			mine = []string{everyOther}
		}
		for n, realm := range mine {
			realm = strings.ToLower(realm)
			if rest, _ := strings.CutPrefix(realm, "*."); strings.Contains(rest, "*") && realm != everyOther || strings.ContainsAny(realm, "@ \t") {
				errs = append(errs, config.Errorf(at(fmt.Sprintf(".realms[%d]", n)), "%q: expected a realm as home.example, *.home.example for those below it, * for every other, or \"\" for names without one", realm))
			}
			if other, ok := realms[realm]; ok && realm == everyOther {
				errs = append(errs, config.Errorf(at(""), "serves every realm that no other one has, as %s does: expected realms: at all but one", other))
			} else if ok {
				errs = append(errs, config.Errorf(at(fmt.Sprintf(".realms[%d]", n)), "%q is served by %s, too", realm, other))
			}
			realms[realm] = o.Name
		}
	}
	return errors.Join(errs...)
}

// everyOther is the realm of whoever serves what nobody else does.
const everyOther = "*"

// Former is a key that the list has taken the place of: it is refused with how to write
// it now.
type Former struct{}

// UnmarshalYAML takes whatever is there.
func (*Former) UnmarshalYAML([]byte) error { return nil }

// Check implements the hook of config.Load.
func (*Former) Check() error {
	return errors.New("is now in the list aaa:, one entry an operator: write \"aaa: [{radius: {...}}]\" with what stands here between the inner braces")
}
