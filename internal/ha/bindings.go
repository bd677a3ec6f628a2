package ha

import (
	"net/netip"
	"slices"
	"time"

	"openmpa/mn/mobility/mip4"
)

// binding is an entry of the mobility binding list (RFC 5944 section 3.8.1).
type binding struct {
	careOf  netip.Addr
	id      uint64 // identification of the current registration
	granted uint16
	since   time.Time // of this care-of address
	expires time.Time // zero: never
	reverse bool
	markers mip4.PathMarkers // what the replies say; Path 0: nothing
	offered bool
	code    mip4.Code // of the reply
}

// bindings are those of one mobile node, the first where it is: that with which it offered
// markers last. They are replaced, and not changed.
type bindings []*binding

// careOf are their care-of addresses.
func (l bindings) careOf() []netip.Addr {
	out := make([]netip.Addr, len(l))
	for i, b := range l {
		out[i] = b.careOf
	}
	return out
}

// of is that of a care-of address, or nil.
func (l bindings) of(careOf netip.Addr) *binding {
	for _, b := range l {
		if b.careOf == careOf {
			return b
		}
	}
	return nil
}

// without are those of other care-of addresses.
func (l bindings) without(careOf netip.Addr) bindings {
	return slices.DeleteFunc(slices.Clone(l), func(b *binding) bool { return b.careOf == careOf })
}

// at tells those that live at now from those that are over.
func (l bindings) at(now time.Time) (live, over bindings) {
	for _, b := range l {
		if b.expires.IsZero() || now.Before(b.expires) {
			live = append(live, b)
		} else {
			over = append(over, b)
		}
	}
	return live, over
}

// with are those that stand when next is accepted, and the code of the reply (RFC 5944
// sections 3.6.1.2 and 3.8.2.2): with the S bit those before it are retained, if the mobile
// node knows copies by their numbers. One that offers markers is where the node is now, one
// that does not is beside it.
func (l bindings) with(next *binding, flags mip4.Flags, most int) (bindings, mip4.Code) {
	retain := flags&mip4.FlagS != 0
	numbers := next.offered || retain && len(l) > 0 && l[0].offered
	switch {
	case most == 1 || !numbers:
		return bindings{next}, mip4.CodeAcceptedOneBinding
	case !retain:
		return bindings{next}, mip4.CodeAccepted
	}
	i := slices.IndexFunc(l, func(b *binding) bool { return b.careOf == next.careOf })
	switch {
	case next.offered:
		l = append(bindings{next}, l.without(next.careOf)...)
	case i >= 0:
		l = slices.Clone(l)
		l[i] = next
	default:
		l = append(slices.Clone(l), next)
	}
	if len(l) > most {
		return nil, mip4.CodeTooManyBindings // section 3.8.2.3
	}
	return l, mip4.CodeAccepted
}
