package diameter

import (
	"bytes"
	_ "embed"
	"fmt"
	"sync"

	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
)

//go:embed dictionary.xml
var dictionaryXML []byte

// dictionary has every command and AVP that this package speaks: the base protocol, its
// accounting (application 3) and EAP (5). A message of a command that is not in it would
// close the connection: so there is one for all, whole before the first message.
var dictionary = sync.OnceValue(func() *dict.Parser {
	if err := datatype.RegisterDecoder(keyType, decodeKey); err != nil {
		panic(err) // a number that is the library's: a mistake in this file
	}
	p, err := dict.NewParser()
	if err == nil {
		err = p.Load(bytes.NewReader(dictionaryXML))
	}
	if err != nil {
		panic(fmt.Sprintf("diameter: dictionary.xml: %v", err))
	}
	for _, app := range p.Apps() {
		for _, a := range app.AVP {
			if a.Code == codeEAPMasterSessionKey {
				a.Data.Type = keyType
			}
		}
	}
	return p
})

// keyType is the type of an AVP that holds a key, beside those of the library.
const keyType datatype.TypeID = 0x4b4559

// key is an OctetString that prints as redacted, and that can be wiped, which the
// library's, a string, cannot.
type key []byte

func decodeKey(b []byte) (datatype.Type, error) { return key(bytes.Clone(b)), nil }

// Serialize, Len, Padding, Type and String implement datatype.Type.
func (k key) Serialize() []byte     { return k }
func (k key) Len() int              { return len(k) }
func (k key) Padding() int          { return -len(k) & 3 }
func (k key) Type() datatype.TypeID { return keyType }
func (k key) String() string        { return "[redacted]" }

// GoString keeps it out of %#v.
func (k key) GoString() string { return "[redacted]" }

// Codes of AVPs that the library has no name for.
const (
	codeState                   = 24 // RFC 7155
	codeChargeableUserIdentity  = 89 // RFC 4372
	codeNASIdentifier           = 32 // RFC 7155
	codeNASPortID               = 87
	codeEAPKeyName              = 102 // RFC 4072 section 4.1
	codeOperatorName            = 126 // RFC 5580
	codeAccountingAuthMethod    = 406 // RFC 7155
	codeEAPPayload              = 462
	codeEAPReissuedPayload      = 463
	codeEAPMasterSessionKey     = 464
	codeAccountingEAPAuthMethod = 465
)

// Applications and commands.
const (
	appBase       = 0
	appAccounting = 3
	appEAP        = 5
	appRelay      = 0xffffffff

	cmdReAuth             = 258
	cmdEAP                = 268
	cmdAccounting         = 271
	cmdAbortSession       = 274
	cmdSessionTermination = 275
)
