package mip4

import (
	"encoding/binary"
	"fmt"
)

// Extension types (RFC 5944 section 1.8, RFC 4064 section 7.2).
const (
	ExtPadding      = 0 // one octet, neither length nor data
	ExtMobileHome   = 32
	ExtMobileFN     = 33 // Mobile-Foreign Authentication
	ExtForeignHome  = 34
	ExtSkippable    = 128 // types from here on are skipped when unknown
	ExtExperimental = 255
)

// experiment is our sub-type in the experimental number space. RFC 4064 has no
// registry of these: they are private to those who run the experiment together.
const experiment = 98

// maxExtensions bounds what one message may make us keep.
const maxExtensions = 64

// Extension is one type-length-value extension (RFC 5944 section 1.9).
type Extension struct {
	Type uint8
	Data []byte // at most 255 octets
}

// Envelope is what follows the fixed portion of a message: extensions, and the
// Mobile-Home Authentication Extension that protects those before it.
type Envelope struct {
	// Extensions are those before the authentication extension, in order, unknown
	// skippable ones included. Only these are protected, only these may be believed.
	Extensions []Extension
	// After are those behind it, meant for a foreign agent. A parser fills it, a
	// builder does not use it.
	After []Extension
	// SPI is the security parameter index the sender used.
	SPI uint32

	covered       []byte // what the authenticator covers, as received
	authenticator []byte // nil: not parsed, or none
}

// parseEnvelope walks the extensions of message b from offset at on.
func parseEnvelope(b []byte, at int) (Envelope, error) {
	var e Envelope
	count := 0
	for at < len(b) {
		typ := b[at]
		if typ == ExtPadding {
			at++
			continue
		}
		if len(b)-at < 2 || len(b)-at-2 < int(b[at+1]) {
			return Envelope{}, fmt.Errorf("mip4: %w: extension of type %d at octet %d runs over the end of the message (%d octets)",
				ErrFormat, typ, at, len(b))
		}
		if count++; count > maxExtensions {
			return Envelope{}, fmt.Errorf("mip4: %w: more than %d extensions", ErrFormat, maxExtensions)
		}
		data := b[at+2 : at+2+int(b[at+1])]
		switch {
		case typ == ExtMobileHome:
			if e.authenticator != nil {
				return Envelope{}, fmt.Errorf("mip4: %w: there are two, exactly one is allowed", ErrNoAuthentication)
			}
			if len(data) < 5 {
				return Envelope{}, fmt.Errorf("mip4: %w: its length is %d, at least 5 are needed for SPI and authenticator", ErrNoAuthentication, len(data))
			}
			e.SPI = binary.BigEndian.Uint32(data)
			e.covered = b[:at+6]
			e.authenticator = data[4:]
		case typ < ExtSkippable && typ != ExtMobileFN && typ != ExtForeignHome:
			return Envelope{}, fmt.Errorf("mip4: %w: type %d at octet %d", ErrUnknownExtension, typ, at)
		case e.authenticator == nil:
			e.Extensions = append(e.Extensions, Extension{Type: typ, Data: data})
		default:
			e.After = append(e.After, Extension{Type: typ, Data: data})
		}
		at += 2 + len(data)
	}
	return e, nil
}

// appendEnvelope appends extensions and signature to the message that starts at start.
func appendEnvelope(dst []byte, start int, exts []Extension, sa Security) ([]byte, error) {
	for _, x := range exts {
		if len(x.Data) > 255 || x.Type == ExtPadding || x.Type == ExtMobileHome {
			return nil, fmt.Errorf("mip4: extension of type %d with %d octets cannot be put before the authentication", x.Type, len(x.Data))
		}
		dst = append(dst, x.Type, byte(len(x.Data)))
		dst = append(dst, x.Data...)
	}
	return sa.sign(dst, start)
}

// Has reports whether an extension of that type is there, before or after the
// authentication.
func (e *Envelope) Has(typ uint8) bool {
	for _, list := range [][]Extension{e.Extensions, e.After} {
		for _, x := range list {
			if x.Type == typ {
				return true
			}
		}
	}
	return false
}

// PathMarkers is the extension by which a mobile node offers path-end markers and a
// home agent says that it does them; see the package comment.
type PathMarkers struct {
	// Path identifies the change of path: the Identification of the first request of
	// the registration that asked for it.
	Path uint64
	// OldPath, in a reply, says that an old path is being ended by markers.
	OldPath bool
}

const pathMarkersLen = 10

// Extension returns the extension to put into a message.
func (p PathMarkers) Extension() Extension {
	data := make([]byte, 2, pathMarkersLen)
	data[0] = experiment
	if p.OldPath {
		data[1] = 0x80
	}
	return Extension{Type: ExtExperimental, Data: binary.BigEndian.AppendUint64(data, p.Path)}
}

// PathMarkers returns the first extension of ours among the protected ones.
func (e *Envelope) PathMarkers() (PathMarkers, bool) {
	for _, x := range e.Extensions {
		if x.Type == ExtExperimental && len(x.Data) == pathMarkersLen && x.Data[0] == experiment {
			return PathMarkers{Path: binary.BigEndian.Uint64(x.Data[2:]), OldPath: x.Data[1]&0x80 != 0}, true
		}
	}
	return PathMarkers{}, false
}
