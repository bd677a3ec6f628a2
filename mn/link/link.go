package link

import (
	"context"
	"fmt"

	"openmpa/internal/osnet"
)

// Adapter moves the node's interface between points of attachment.
type Adapter interface {
	// Current returns the point the interface is attached to, "" if none.
	Current(ctx context.Context) (poa string, err error)
	// Attach leaves the present point for poa. It returns when the link layer has been told; whether the link comes up is for
	// Watch to say. After an error the old attachment may be assumed unless Current says otherwise.
	Attach(ctx context.Context, poa string) error
	// Watch reports the interface's carrier, the present state first, until ctx ends.
	Watch(ctx context.Context) (<-chan osnet.LinkState, error)
}

const maxPoint = 64 // octets of a point's name

// CheckPoint says what is wrong with a point's name, or nil.
func CheckPoint(poa string) error {
	if poa == "" || len(poa) > maxPoint {
		return fmt.Errorf("link: point of attachment %.80q: expected 1 to %d characters", poa, maxPoint)
	}
	for _, c := range []byte(poa) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("link: point of attachment %q: expected printable ASCII without space", poa)
		}
	}
	return nil
}
