package notify

import (
	"fmt"
	"net"
	"time"
)

const pointLen = 7 // octets of a LinkPoint in its field

func (m LinkKeysRequest) appendFields(b []byte) ([]byte, error) {
	if !unicast(m.Station) {
		return nil, fmt.Errorf("station %s is not a unicast link-layer address", net.HardwareAddr(m.Station[:]))
	}
	return put(b, fMAC, m.Station[:]), nil
}

func (m *LinkKeysRequest) parseFields(f fields) error {
	mac, err := f.mac(fMAC)
	if err != nil {
		return err
	}
	m.Station = [6]byte(mac)
	return nil
}

func (m LinkKeysReply) appendFields(b []byte) ([]byte, error) {
	if m.Reason != "" {
		return putReason(b, m.Reason), nil
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	points := make([]byte, 0, pointLen*len(m.Points))
	for _, p := range m.Points {
		points = append(append(points, p.BSSID[:]...), p.AKM)
	}
	return put(put(b, fLinkLife, u32(seconds(m.Lifetime))), fPoints, points), nil
}

func (m *LinkKeysReply) parseFields(f fields) (err error) {
	var refused bool
	if m.Reason, refused, err = f.reason(); refused || err != nil {
		return err
	}
	life, err := f.u32s(fLinkLife, 1)
	if err != nil {
		return err
	}
	m.Lifetime = time.Duration(life[0]) * time.Second
	v, err := f.sized(fPoints, 0, pointLen*MaxPoints)
	if err != nil {
		return err
	}
	if len(v)%pointLen != 0 {
		return fmt.Errorf("field %d of %d octets, expected sevens", fPoints, len(v))
	}
	for ; len(v) > 0; v = v[pointLen:] {
		m.Points = append(m.Points, LinkPoint{BSSID: [6]byte(v), AKM: v[6]})
	}
	return m.check()
}

// check says what is wrong with the points.
func (m LinkKeysReply) check() error {
	if len(m.Points) > MaxPoints {
		return fmt.Errorf("%d access points, at most %d fit", len(m.Points), MaxPoints)
	}
	if len(m.Points) > 0 && m.Lifetime < time.Second {
		return fmt.Errorf("keys for %v, expected at least 1s", m.Lifetime)
	}
	seen := map[[6]byte]bool{}
	for _, p := range m.Points {
		if !unicast(p.BSSID) || seen[p.BSSID] {
			return fmt.Errorf("access point %s: not a unicast link-layer address, or given twice", net.HardwareAddr(p.BSSID[:]))
		}
		seen[p.BSSID] = true
	}
	return nil
}
