package scenario

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/testbed/bed"
	"openmpa/testbed/impair"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

// eapStarted is hostapd's word when it begins to authenticate a station.
const eapStarted = "CTRL-EVENT-EAP-STARTED"

// onAir counts what was lost on the node's link so far; nothing where nobody counts.
func onAir(b *bed.Bed) (lostOnLinks, error) {
	if b.Air == nil {
		return lostOnLinks{}, nil
	}
	if err := b.Air.Settle(); err != nil {
		return lostOnLinks{}, fmt.Errorf("scenario: what was lost on the air: %w", err)
	}
	refused, err := b.Air.Refused()
	return lostOnLinks{down: b.Air.Lost(impair.KindDown), up: b.Air.Lost(impair.KindUp), refused: refused}, err
}

// authentications counts how often each access point has begun to authenticate, by its log.
func authentications(b *bed.Bed) (map[string]int, error) {
	if b.Radio == nil {
		return nil, nil
	}
	n := make(map[string]int)
	for _, a := range b.Radio.APs {
		log, err := os.ReadFile(b.Run.File(a.AP.Name + ".log"))
		if err != nil {
			return nil, fmt.Errorf("scenario: %w", err)
		}
		n[a.Point] = bytes.Count(log, []byte(eapStarted))
	}
	return n, nil
}

// noteRadio notes what a move by 802.11 needed; before are the authentications until then.
func (m *measured) noteRadio(b *bed.Bed, before map[string]int) error {
	last := len(m.moves) - 1
	if b.Radio == nil || last < 0 || m.moves[last].Up.IsZero() {
		return nil
	}
	var err error
	m.Radio, err = needed(b, before, m.moves[last].To, m.moves[0].Lost, m.moves[last].Up)
	return err
}

// needed is what a move to a point needed: authentications since before, and packets of the authentication server in a time.
func needed(b *bed.Bed, before map[string]int, point string, from, to time.Time) (*report.Radio, error) {
	after, err := authentications(b)
	if err != nil {
		return nil, err
	}
	return &report.Radio{Point: point, EAP: after[point] - before[point], RADIUS: b.Air.RADIUS(from, to)}, nil
}

// expectKeyed checks that a move by 802.11 was association and 4-way handshake only.
func (r *run) expectKeyed(name string, m measured) {
	if m.Radio != nil && (m.Radio.EAP > 0 || m.Radio.RADIUS > 0) {
		r.problem("%s: %d authentications at %s, and %d packets at the authentication server in the move; expected none: the keys were there",
			name, m.Radio.EAP, m.Radio.Point, m.Radio.RADIUS)
	}
}

// prepare has the node do all that can be done before a move to a network, and keep it.
func prepare(ctx context.Context, b *bed.Bed, to string) (event.HandoverID, error) {
	ctx, cancel := context.WithTimeout(ctx, handoverLimit)
	defer cancel()
	var result control.HandoverResult
	err := b.Client(topo.MN).Command(ctx, control.CommandPrepare, control.HandoverArgs{Network: to, Wait: true}, &result)
	if err == nil && result.Outcome != event.OK {
		err = fmt.Errorf("%s: %s", result.Outcome, result.Reason)
	}
	if err != nil {
		return result.ID, fmt.Errorf("scenario: prepare a move to %s: %w", to, err)
	}
	return result.ID, nil
}

// keysGone waits until no access point of a network the node has left knows a key of it, and the node none of theirs.
func (r *run) keysGone(ctx context.Context, b *bed.Bed, network string) error {
	if b.Radio == nil {
		return nil
	}
	n, _ := topo.NetworkByName(network)
	var left []string
	var err error
	gone := func() bool {
		left, err = keysOf(ctx, b, n)
		return err != nil || len(left) == 0
	}
	if await(ctx, cleanLimit, gone) == nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.problem("keys after the handover: %s; expected none of network %s, which the node has left", strings.Join(left, "; "), network)
	return nil
}

// keysOf lists the keys between the node and the access points of a network, at both ends.
func keysOf(ctx context.Context, b *bed.Bed, n topo.Network) (left []string, err error) {
	own, err := pmksa(ctx, b.Radio.Control)
	if err != nil {
		return nil, err
	}
	for _, point := range n.Points {
		a := b.Radio.AP(point)
		for _, k := range own {
			if k.Addr == a.BSSID {
				left = append(left, fmt.Sprintf("the node has one of %s for %v", point, k.Expires))
			}
		}
		theirs, err := pmksa(ctx, a.Control)
		if err != nil {
			return nil, err
		}
		for _, k := range theirs {
			if k.Addr == b.Radio.Address {
				left = append(left, fmt.Sprintf("%s has one of the node for %v", point, k.Expires))
			}
		}
	}
	return left, nil
}

func pmksa(ctx context.Context, c *wpactrl.Client) ([]wpactrl.PMKSA, error) {
	answer, err := c.Command(ctx, "PMKSA")
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	list, err := wpactrl.ParsePMKSA(answer)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	return list, nil
}
