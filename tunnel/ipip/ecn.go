package ipip

// The ECN field, the low two bits of the TOS octet (RFC 3168 section 5).
const (
	ecnMask = 0x03
	notECT  = 0x00
	ect1    = 0x01
	ect0    = 0x02
	ce      = 0x03
)

// Marking is how an ingress makes the TOS octet of the outer header. Zero copies the
// whole of it: the normal mode of RFC 6040 section 4.1 and the uniform model of RFC 2983
// section 3.1.
type Marking struct {
	// Compatibility clears the ECN field: the egress is not known to combine it again
	// (RFC 6040 section 4.3).
	Compatibility bool
	// Pipe gives every packet the code point DSCP, and not its own (RFC 2983 section 3.2):
	// the network between treats all alike, and sees no class.
	Pipe bool
	DSCP uint8 // 0 to 63
}

// Outer returns the outer TOS octet for an inner one (RFC 6040 figure 3).
func (m Marking) Outer(inner uint8) uint8 {
	dscp, ecn := inner&^ecnMask, inner&ecnMask
	if m.Pipe {
		dscp = m.DSCP << 2
	}
	if m.Compatibility {
		ecn = notECT
	}
	return dscp | ecn
}

// Alarm says what to think of a pair of ECN fields that no ingress makes.
type Alarm uint8

// The alarms of RFC 6040 section 4.2.
const (
	Usual     Alarm = iota
	Possibly        // "(!)": possibly dangerous
	Dangerous       // "(!!!)": always potentially dangerous
)

type decision struct {
	ecn   uint8
	drop  bool
	alarm Alarm
}

// combined is figure 4 of RFC 6040, by the inner field and then the outer one.
var combined = [4][4]decision{
	notECT: {notECT: {ecn: notECT}, ect0: {ecn: notECT, alarm: Dangerous}, ect1: {ecn: notECT, alarm: Dangerous}, ce: {ecn: notECT, drop: true, alarm: Dangerous}},
	ect0:   {notECT: {ecn: ect0}, ect0: {ecn: ect0}, ect1: {ecn: ect1}, ce: {ecn: ce}},
	ect1:   {notECT: {ecn: ect1}, ect0: {ecn: ect1, alarm: Possibly}, ect1: {ecn: ect1}, ce: {ecn: ce}},
	ce:     {notECT: {ecn: ce}, ect0: {ecn: ce}, ect1: {ecn: ce, alarm: Dangerous}, ce: {ecn: ce}},
}

// Inner returns the TOS octet with which an inner packet goes on behind the egress, and
// whether it must be dropped instead. The DSCP stays the inner one.
func Inner(inner, outer uint8) (tos uint8, drop bool, alarm Alarm) {
	d := combined[inner&ecnMask][outer&ecnMask]
	return inner&^ecnMask | d.ecn, d.drop, d.alarm
}

// DecapsulateECN applies Inner to an inner packet in place. ErrECN means that it must
// be dropped: that is the mark its transport understands.
func DecapsulateECN(inner []byte, outerTOS uint8) (Alarm, error) {
	tos, drop, alarm := Inner(TOS(inner), outerTOS)
	if drop {
		return alarm, ErrECN
	}
	SetTOS(inner, tos)
	return alarm, nil
}
