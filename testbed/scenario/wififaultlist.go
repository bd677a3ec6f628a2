package scenario

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
	"openmpa/par/apctl"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// Points of the faults: the node comes from the first one, and its keys are
// installed at the other two.
const (
	pointHere  = "poa-b1"
	pointThere = "poa-a1"
	pointFar   = "poa-a2" // on a machine of its own
)

// radioFaults are all of them.
func radioFaults() []radioFault {
	completed := []event.Outcome{event.Completed}
	return []radioFault{
		{
			name:     "hostapd restarted, where the node is going",
			strike:   func(_ context.Context, f *faulty) error { return f.stop(bed.APName(pointThere)) },
			seen:     pointLost("a", pointThere),
			heal:     func(ctx context.Context, f *faulty) error { return f.bed.Restart(ctx, bed.APName(pointThere)) },
			healed:   pointHasKey("a", pointThere),
			outcomes: completed,
		},
		{
			name: "hostapd restarted, where the node is",
			strike: func(ctx context.Context, f *faulty) error {
				return errors.Join(f.stop(bed.APName(pointHere)), f.bed.Restart(ctx, bed.APName(pointHere)))
			},
			seen:     nodeSaid(event.PhaseL2),
			heal:     func(context.Context, *faulty) error { return nil },
			healed:   connected,
			outcomes: completed,
		},
		{
			name: "wpa_supplicant restarted",
			strike: func(ctx context.Context, f *faulty) error {
				return errors.Join(f.stop(bed.StationName), f.bed.Restart(ctx, bed.StationName))
			},
			seen:     nodeSaid(event.PhaseL2),
			heal:     func(context.Context, *faulty) error { return nil },
			healed:   stationHasKey(pointThere),
			outcomes: completed,
		},
		{
			name:   "hostapd's control socket gone",
			strike: func(_ context.Context, f *faulty) error { return hide(f.socketOf(pointThere)) },
			seen:   pointLost("a", pointThere),
			// The key is there, and cannot be taken back until the socket is.
			late:     func(_ context.Context, f *faulty) error { return show(f.socketOf(pointThere)) },
			healed:   pointUp("a", pointThere),
			outcomes: completed,
		},
		{
			name:     "wpa_supplicant's control socket gone",
			strike:   func(_ context.Context, f *faulty) error { return hide(f.bed.Radio.Station.Socket()) },
			seen:     logged(topo.MN, "wpa_supplicant"),
			late:     func(_ context.Context, f *faulty) error { return show(f.bed.Radio.Station.Socket()) },
			healed:   connected,
			outcomes: []event.Outcome{event.Failed, event.SwitchedBack},
		},
		{
			name:     "access point and station with different keys",
			strike:   otherKeys,
			seen:     func(context.Context, *faulty) (string, error) { return "seen in the move only", nil },
			heal:     func(context.Context, *faulty) error { return nil },
			healed:   connected,
			outcomes: []event.Outcome{event.Completed, event.SwitchedBack},
			eap:      true,
		},
		{
			name: "agent killed",
			strike: func(_ context.Context, f *faulty) error {
				_, err := f.bed.Kill(bed.AgentName)
				return err
			},
			seen:     pointLost("a", pointFar),
			late:     func(ctx context.Context, f *faulty) error { return f.bed.Restart(ctx, bed.AgentName) },
			healed:   pointUp("a", pointFar),
			outcomes: completed,
		},
	}
}

// stop ends a daemon in order; Restart starts it again.
func (f *faulty) stop(name string) error {
	const limit = 10 * time.Second
	return f.bed.Child(name).Stop(limit)
}

func (f *faulty) socketOf(point string) string { return f.bed.Radio.AP(point).AP.Socket(0) }

// hide removes a socket's file; the daemon goes on.
func hide(socket string) error { return os.Rename(socket, socket+".away") }

// show puts it back.
func show(socket string) error { return os.Rename(socket+".away", socket) }

// points are the access points of a router as it sees them.
func (f *faulty) points(ctx context.Context, router string) (map[string]apctl.Status, error) {
	var status struct {
		Points []apctl.Status `json:"access_points"`
	}
	if err := f.bed.Client(router).Status(ctx, &status); err != nil {
		return nil, fmt.Errorf("scenario: status of router %s: %w", router, err)
	}
	all := make(map[string]apctl.Status)
	for _, p := range status.Points {
		all[p.Name] = p
	}
	return all, nil
}

// pointLost: the router says that it does not reach an access point, and why.
func pointLost(router, point string) func(context.Context, *faulty) (string, error) {
	return func(ctx context.Context, f *faulty) (string, error) {
		all, err := f.points(ctx, router)
		p := all[point]
		if err != nil || p.Up || p.Why == "" {
			return "", err
		}
		return fmt.Sprintf("router %s, of %s: %s", router, point, p.Why), nil
	}
}

func pointUp(router, point string) func(context.Context, *faulty) (bool, error) {
	return func(ctx context.Context, f *faulty) (bool, error) {
		all, err := f.points(ctx, router)
		return all[point].Up && !all[point].Pending, err
	}
}

// pointHasKey: besides, hostapd has the node's key again.
func pointHasKey(router, point string) func(context.Context, *faulty) (bool, error) {
	return func(ctx context.Context, f *faulty) (bool, error) {
		if up, err := pointUp(router, point)(ctx, f); err != nil || !up {
			return false, err
		}
		return has(ctx, f.bed.Radio.AP(point).Control, f.bed.Radio.Address), nil
	}
}

// stationHasKey: wpa_supplicant is connected and has the key of an access point.
func stationHasKey(point string) func(context.Context, *faulty) (bool, error) {
	return func(ctx context.Context, f *faulty) (bool, error) {
		if up, err := connected(ctx, f); err != nil || !up {
			return false, err
		}
		return has(ctx, f.bed.Radio.Control, f.bed.Radio.AP(point).BSSID), nil
	}
}

// has says whether a daemon has a key for somebody; not if it does not answer.
func has(ctx context.Context, daemon *wpactrl.Client, addr wpactrl.MAC) bool {
	list, err := pmksa(ctx, daemon)
	return err == nil && slices.ContainsFunc(list, func(k wpactrl.PMKSA) bool { return k.Addr == addr })
}

// connected: wpa_supplicant is, and the node says that it is attached.
func connected(ctx context.Context, f *faulty) (bool, error) {
	answer, err := f.bed.Radio.Control.Command(ctx, "STATUS")
	if err != nil { // it may just have been started
		return false, nil //nolint:nilerr // asked again
	}
	st, err := wpactrl.ParseStatus(answer)
	if err != nil || st.State != wpactrl.StateCompleted {
		return false, err
	}
	var node struct {
		State string `json:"state"`
	}
	err = f.bed.Client(topo.MN).Status(ctx, &node)
	return node.State == "attached", err
}

// nodeSaid: the node's timeline has a record of a phase since the fault.
func nodeSaid(phase event.Phase) func(context.Context, *faulty) (string, error) {
	return func(ctx context.Context, f *faulty) (said string, err error) {
		err = f.bed.Client(topo.MN).Events(ctx, f.since, false, func(e event.Event) error {
			if e.Phase == phase && said == "" {
				said = fmt.Sprintf("the node: %s %v", e.Phase, e.Attrs)
			}
			return nil
		})
		return said, err
	}
}

// logged: a daemon's log has a warning with a word since the fault.
func logged(daemon, word string) func(context.Context, *faulty) (string, error) {
	return func(_ context.Context, f *faulty) (string, error) {
		b, err := os.ReadFile(f.bed.Run.File(daemon + ".log"))
		if err != nil {
			return "", fmt.Errorf("scenario: %w", err)
		}
		for line := range strings.Lines(string(b[min(f.logAt[daemon], len(b)):])) {
			if _, text, ok := strings.Cut(line, "level=WARN "); ok && strings.Contains(text, word) {
				return "the node: " + strings.TrimSpace(text), nil
			}
		}
		return "", nil
	}
}

// otherKeys gives the access points of a other keys under the same names.
func otherKeys(ctx context.Context, f *faulty) error {
	n, _ := topo.NetworkByName("a")
	for _, name := range n.Points {
		control := f.bed.Radio.AP(name).Control
		list, err := pmksa(ctx, control)
		if err != nil {
			return err
		}
		for _, k := range list {
			if k.Addr != f.bed.Radio.Address {
				continue
			}
			b := make([]byte, keys.PMKLen)
			_, _ = rand.Read(b) // never fails
			other := keys.NewSecret(b)
			defer other.Clear()
			err := control.Do(ctx, fmt.Sprintf("PMKSA_ADD %v %x ? %d %d", k.Addr, k.PMKID, int(k.Expires/time.Second), wpactrl.KeyMgmt(keys.AKM8021X)), other)
			if err != nil {
				return fmt.Errorf("scenario: another key at %s: %w", name, err)
			}
		}
	}
	return nil
}
