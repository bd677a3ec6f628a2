package mip4

import "fmt"

// Code is the result in a reply (RFC 5944 section 3.4, RFC 3024 section 3.4).
type Code uint8

// The codes this project uses or meets.
const (
	CodeAccepted             Code = 0
	CodeAcceptedOneBinding   Code = 1 // accepted, simultaneous bindings unsupported
	CodeReason               Code = 128
	CodeProhibited           Code = 129
	CodeResources            Code = 130
	CodeMNAuthentication     Code = 131
	CodeFAAuthentication     Code = 132
	CodeIdentification       Code = 133
	CodePoorlyFormed         Code = 134
	CodeTooManyBindings      Code = 135
	CodeUnknownHomeAgent     Code = 136
	CodeNoReverseTunnel      Code = 137
	CodeReverseTunnelNeeded  Code = 138
	CodeNoSuchEncapsulation  Code = 139
	CodeExperimental         Code = 192 // RFC 4064 section 5
	CodeInvalidHomeAgent     Code = 194
	CodeLifetimeTooLongForFA Code = 69
)

// Accepted reports whether the code says that the registration stands.
func (c Code) Accepted() bool { return c <= CodeAcceptedOneBinding }

var codeText = map[Code]string{
	0:   "registration accepted",
	1:   "registration accepted, but simultaneous mobility bindings unsupported",
	64:  "foreign agent: reason unspecified",
	65:  "foreign agent: administratively prohibited",
	66:  "foreign agent: insufficient resources",
	67:  "foreign agent: mobile node failed authentication",
	68:  "foreign agent: home agent failed authentication",
	69:  "foreign agent: requested lifetime too long",
	70:  "foreign agent: poorly formed request",
	71:  "foreign agent: poorly formed reply",
	72:  "foreign agent: requested encapsulation unavailable",
	74:  "foreign agent: requested reverse tunnel unavailable",
	75:  "foreign agent: reverse tunnel is mandatory and T bit not set",
	76:  "foreign agent: mobile node too distant",
	77:  "foreign agent: invalid care-of address",
	78:  "foreign agent: registration timeout",
	79:  "foreign agent: delivery style not supported",
	80:  "foreign agent: home network unreachable",
	81:  "foreign agent: home agent host unreachable",
	82:  "foreign agent: home agent port unreachable",
	88:  "foreign agent: home agent unreachable",
	127: "foreign agent: experimental error",
	128: "reason unspecified",
	129: "administratively prohibited",
	130: "insufficient resources",
	131: "mobile node failed authentication",
	132: "foreign agent failed authentication",
	133: "registration identification mismatch",
	134: "poorly formed request",
	135: "too many simultaneous mobility bindings",
	136: "unknown home agent address",
	137: "requested reverse tunnel unavailable",
	138: "reverse tunnel is mandatory and T bit not set",
	139: "requested encapsulation unavailable",
	192: "experimental error",
	194: "invalid home agent address",
}

// String is the meaning in words.
func (c Code) String() string {
	if s, ok := codeText[c]; ok {
		return s
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// codeRemedy says what to look at, where something can be done.
var codeRemedy = map[Code]string{
	129: "look whether the home agent's configuration lists this home address",
	131: "compare spi, key and algorithm of both sides",
	133: "compare the clocks of both sides",
	136: "set home-agent to the address the home agent is configured with",
}

// CodeError is a denial: the home agent answered, and said no.
type CodeError struct {
	Code Code
	// HomeAgent is what the reply names; with code 136 the address to use.
	HomeAgent string
}

// Error implements error.
func (e *CodeError) Error() string {
	s := fmt.Sprintf("mip4: home agent %s denied the registration: %v (code %d)", e.HomeAgent, e.Code, uint8(e.Code))
	if r, ok := codeRemedy[e.Code]; ok {
		s += ": " + r
	}
	return s
}
