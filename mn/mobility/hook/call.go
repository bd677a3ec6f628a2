package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Version of the JSON objects. Fields may be added without a change of it.
const Version = 1

// Op is what a call asks for.
type Op string

// The operations.
const (
	Bind    Op = "bind"    // have packets come to the care-of address
	Refresh Op = "refresh" // the binding stands: extend it, or look what has changed
	Unbind  Op = "unbind"  // leave things as they were before the first bind
)

// Call is what the executable reads: one object on one line.
type Call struct {
	Version    int        `json:"version"`
	Op         Op         `json:"op"`
	CareOf     netip.Addr `json:"care_of"`
	Previous   netip.Addr `json:"previous,omitzero"` // the one bound before
	Device     string     `json:"device"`            // packets from the care-of address leave by it
	Physical   string     `json:"physical"`          // they will after the move, or do already
	Gateway    netip.Addr `json:"gateway,omitzero"`  // on the physical interface
	GatewayMAC string     `json:"gateway_mac,omitempty"`
	MTU        int        `json:"mtu"`   // octets, of the narrowest way that packets take
	Table      int        `json:"table"` // whose default route is the way of the bound care-of address
	Lifetime   int64      `json:"lifetime,omitempty"`
	Handover   string     `json:"handover,omitempty"` // its identifier
	Reason     string     `json:"reason"`
}

// Answer is what the executable may write: nothing, or one object.
type Answer struct {
	Lifetime time.Duration // after half of which it is to be called again; 0: never
}

// Bounds of an answer's lifetime.
const (
	MinLifetime = 10 * time.Second
	MaxLifetime = 24 * time.Hour
)

// parseAnswer reads what came on standard output.
func parseAnswer(b []byte) (Answer, error) {
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return Answer{}, nil
	}
	var a struct {
		Lifetime *float64 `json:"lifetime"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(&a)
	if err == nil {
		if _, e := d.Token(); !errors.Is(e, io.EOF) {
			err = errors.New("something stands behind the object")
		}
	}
	if err != nil {
		return Answer{}, fmt.Errorf(`expected nothing or {"lifetime": SECONDS} on standard output, came %s: %w`, quote(b), err)
	}
	if a.Lifetime == nil {
		return Answer{}, nil
	}
	if s := *a.Lifetime; s < MinLifetime.Seconds() || s > MaxLifetime.Seconds() {
		return Answer{}, fmt.Errorf("lifetime of %v s: expected %v to %v", s, MinLifetime.Seconds(), MaxLifetime.Seconds())
	}
	return Answer{Lifetime: time.Duration(*a.Lifetime * float64(time.Second))}, nil
}

// quoted is how many octets of what came an error shows at most.
const quoted = 300

// quote shows the end of what came, on one line.
func quote(b []byte) string {
	if b = bytes.TrimSpace(b); len(b) > quoted {
		return "..." + fmt.Sprintf("%q", b[len(b)-quoted:])
	}
	return fmt.Sprintf("%q", b)
}
