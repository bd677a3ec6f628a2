package scenario

import (
	"encoding/json"

	"openmpa/internal/event"
	"openmpa/testbed/report"
)

// phaseFields are the phases that are reported as the timelines have them.
// The others are measured by the lab, or are no phase of the report.
var phaseFields = map[event.Phase]string{
	event.PhaseDiscovery: "discovery_ms",
	event.PhaseAuth:      "tauth_ms",
	event.PhaseConf:      "tconf_ms",
	event.PhaseDHCP:      "dhcp_ms",
	event.PhaseDAD:       "dad_ms",
	event.PhaseTunnel:    "tunnel_ms",
	event.PhaseBind:      "bind_ms",
	event.PhaseDepart:    "depart_ms",
}

// phases are the durations of a handover's phases by their field. A phase
// that happened several times (a binding that was moved back) counts once,
// as it was the first time; one that did not end well does not count.
func phases(records []event.Event) map[string]float64 {
	m := make(map[string]float64)
	for _, e := range records {
		field := phaseFields[e.Phase]
		if field == "" || e.Kind != event.KindEnd || e.Outcome != event.OK {
			continue
		}
		if _, there := m[field]; !there {
			m[field] = report.MS(e.Duration)
		}
	}
	return m
}

// tlsVersion is what an authentication used, by whoever's record of it.
func tlsVersion(records []event.Event) string {
	for _, e := range records {
		if v, ok := e.Attrs["tls"].(string); ok && e.Phase == event.PhaseAuth && e.Kind == event.KindEnd && e.Outcome == event.OK {
			return v
		}
	}
	return ""
}

// ending is the record that ends the whole handover.
func ending(records []event.Event) (event.Event, bool) {
	for _, e := range records {
		if e.Phase == event.PhaseHandover && e.Kind == event.KindEnd {
			return e, true
		}
	}
	return event.Event{}, false
}

// buffer is what the new router held, from the ends of its phases hold, drain and
// flip; nil when there was no drain.
func buffer(records []event.Event) *report.Buffer {
	var b *report.Buffer
	var sized *int
	var expected *float64
	for _, e := range records {
		if e.Kind != event.KindEnd {
			continue
		}
		switch e.Phase {
		case event.PhaseHold:
			if _, there := e.Attrs["sized_packets"]; there {
				n, ms := int(attr(e, "sized_packets")), attr(e, "expected_ms")
				sized, expected = &n, &ms
			}
		case event.PhaseDrain:
			if b == nil {
				b = &report.Buffer{}
			}
			b.Packets = int(attr(e, "packets"))
			b.Dropped = int(attr(e, "dropped"))
			b.ForcedFlips += int(attr(e, "forced_flips"))
			if _, there := e.Attrs["held_ms"]; there {
				held := attr(e, "held_ms")
				b.HeldMS = &held
			}
			b.Reasons = reasons(e.Attrs["reasons"])
		case event.PhaseFlip:
			if b == nil {
				b = &report.Buffer{}
			}
			if forced, _ := e.Attrs["forced"].(bool); forced {
				b.ForcedFlips++
			}
		default:
		}
	}
	if b != nil {
		b.SizedPackets, b.ExpectedMS = sized, expected
	}
	return b
}

// attr is a numeric attribute, 0 when it is not there. Numbers that came as
// JSON are float64 or json.Number.
func attr(e event.Event, name string) float64 {
	switch v := e.Attrs[name].(type) {
	case float64:
		return v
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return 0
		}
		return f
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	default:
		return 0
	}
}

func reasons(v any) map[string]int {
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		return nil
	}
	out := make(map[string]int)
	for k := range m {
		if n := int(attr(event.Event{Attrs: m}, k)); n > 0 {
			out[k] = n
		}
	}
	return out
}
