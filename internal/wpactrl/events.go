package wpactrl

import (
	"strconv"
	"strings"
)

// Names of events. Those of wpa_supplicant:
const (
	EventAssociated   = "Associated"                    // "with BSSID": the keys follow, unless it is a fast transition
	EventEAPStarted   = "CTRL-EVENT-EAP-STARTED"        // a full authentication is under way
	EventConnected    = "CTRL-EVENT-CONNECTED"          // the 4-way handshake, or what stands for it, is done
	EventDisconnected = "CTRL-EVENT-DISCONNECTED"       // bssid, reason, locally_generated
	EventAssocReject  = "CTRL-EVENT-ASSOC-REJECT"       // bssid (not always), status_code
	EventAuthReject   = "CTRL-EVENT-AUTH-REJECT"        // address, auth_type, status_code
	EventTempDisabled = "CTRL-EVENT-SSID-TEMP-DISABLED" // id, ssid, reason
	EventNotFound     = "CTRL-EVENT-NETWORK-NOT-FOUND"
	EventScanStarted  = "CTRL-EVENT-SCAN-STARTED"
	EventScanResults  = "CTRL-EVENT-SCAN-RESULTS"
	EventScanFailed   = "CTRL-EVENT-SCAN-FAILED"
	EventSignalChange = "CTRL-EVENT-SIGNAL-CHANGE"  // above, signal, noise, txrate
	EventNeighbor     = "RRM-NEIGHBOR-REP-RECEIVED" // one access point of an 802.11k neighbour report
	EventNeighborFail = "RRM-NEIGHBOR-REP-REQUEST-FAILED"
	EventTerminating  = "CTRL-EVENT-TERMINATING"
)

// Those of hostapd, each with the station's address first:
const (
	EventStaConnected    = "AP-STA-CONNECTED"
	EventStaDisconnected = "AP-STA-DISCONNECTED"
	EventHandshakeDone   = "EAPOL-4WAY-HS-COMPLETED"
	EventPSKMismatch     = "AP-STA-POSSIBLE-PSK-MISMATCH"
)

// Peer returns whom an event is about: the access point's BSSID from wpa_supplicant, the station's address from hostapd; zero
// if the event does not say.
func (e Event) Peer() MAC {
	switch e.Name {
	case EventConnected: // "- Connection to 02:00:00:00:01:00 completed [id=0 id_str=]"
		rest, ok := strings.CutPrefix(e.Rest, "- Connection to ")
		if !ok {
			return MAC{}
		}
		return firstMAC(rest)
	case EventAssociated: // "with 02:00:00:00:01:00"
		return firstMAC(strings.TrimPrefix(e.Rest, "with "))
	case EventAuthReject, EventStaConnected, EventStaDisconnected, EventHandshakeDone, EventPSKMismatch:
		return firstMAC(e.Rest)
	}
	return Words(e.Rest).MAC("bssid")
}

func firstMAC(s string) MAC {
	word, _, _ := strings.Cut(s, " ")
	m, err := ParseMAC(word)
	if err != nil {
		return MAC{}
	}
	return m
}

// Int returns a named number of the event, such as reason or status_code, and whether it is there.
func (e Event) Int(name string) (int, bool) { return Words(e.Rest).Int(name) }

// Neighbour is one access point that another one reports (802.11k).
type Neighbour struct {
	BSSID   MAC
	Info    uint32 // BSSID information field, IEEE 802.11-2020 figure 9-337
	OpClass int
	Channel int
	PHYType int
}

// Neighbour reads an EventNeighbor.
func (e Event) Neighbour() (Neighbour, bool) {
	f := Words(e.Rest)
	n := Neighbour{BSSID: f.MAC("bssid"), OpClass: f.number("op_class"), Channel: f.number("chan"), PHYType: f.number("phy_type")}
	info, err := strconv.ParseUint(f["info"], 0, 32)
	n.Info = uint32(info)
	return n, err == nil && e.Name == EventNeighbor && !n.BSSID.IsZero()
}

// Freq returns the frequency of the channel in MHz (IEEE 802.11-2020 annex E, the global operating classes of 20 MHz primary
// channels); 0: not known here.
func (n Neighbour) Freq() int {
	switch c := n.OpClass; {
	case n.Channel < 1 || n.Channel > 233:
		return 0
	case c == 81 && n.Channel <= 13, c == 83, c == 84:
		return 2407 + 5*n.Channel
	case c == 82 && n.Channel == 14:
		return 2484
	case c >= 115 && c <= 130:
		return 5000 + 5*n.Channel
	case c >= 131 && c <= 135, c == 137:
		return 5950 + 5*n.Channel
	case c == 136:
		return 5935
	}
	return 0
}

// SignalChange is what wpa_supplicant reports when the signal crosses the threshold of SIGNAL_MONITOR.
type SignalChange struct {
	Above  bool
	Signal int // dBm
	Noise  int // dBm; 9999: not known
}

// SignalChange reads an EventSignalChange.
func (e Event) SignalChange() (SignalChange, bool) {
	f := Words(e.Rest)
	signal, ok := f.Int("signal")
	return SignalChange{Above: f["above"] == "1", Signal: signal, Noise: f.number("noise")}, ok && e.Name == EventSignalChange
}
