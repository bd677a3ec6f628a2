package notify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"
)

func reply(points int) *LinkKeysReply {
	m := &LinkKeysReply{Header: Header{Handover: testID}, Lifetime: time.Hour}
	for i := range points {
		m.Points = append(m.Points, LinkPoint{BSSID: [6]byte{2, 0, 0, 0, 1, byte(i)}, AKM: 1})
	}
	return m
}

func TestLinkKeysGolden(t *testing.T) {
	m := reply(2)
	m.Points[1].AKM = 5
	b, err := Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	want := "0a" + "0102030405060708090a0b0c0d0e0f10" + "11000400000e10" + "12000e" + "02000000010001" + "02000000010105"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("link keys reply\n got %s\nwant %s", got, want)
	}
}

func TestLinkKeysBounds(t *testing.T) {
	if b, err := Append(nil, reply(MaxPoints)); err != nil || len(b) > MaxReport {
		t.Errorf("%d points: %d octets, %v", MaxPoints, len(b), err)
	}
	twice := reply(2)
	twice.Points[1] = twice.Points[0]
	group := reply(1)
	group.Points[0].BSSID[0] |= 1
	short := reply(1)
	short.Lifetime = time.Second - 1
	for name, m := range map[string]Message{
		"too many": reply(MaxPoints + 1), "twice": twice, "group": group, "ended": short, "none": &LinkKeysRequest{},
		"station of a group": &LinkKeysRequest{Station: [6]byte{1}},
	} {
		if b, err := Append(nil, m); err == nil {
			t.Errorf("%s: appended as %x", name, b)
		}
	}
	head := append([]byte{byte(KindLinkKeysReply)}, testID[:]...)
	hour := put(bytes.Clone(head), fLinkLife, u32(3600))
	point := []byte{2, 0, 0, 0, 1, 0, 1}
	for name, b := range map[string][]byte{
		"too many":      put(bytes.Clone(hour), fPoints, bytes.Repeat(point, MaxPoints+1)),
		"twice":         put(bytes.Clone(hour), fPoints, point, point),
		"cut":           put(bytes.Clone(hour), fPoints, point[:6]),
		"group":         put(bytes.Clone(hour), fPoints, []byte{3, 0, 0, 0, 1, 0, 1}),
		"zero":          put(bytes.Clone(hour), fPoints, make([]byte, pointLen)),
		"ended":         put(put(bytes.Clone(head), fLinkLife, u32(0)), fPoints, point),
		"no life":       put(bytes.Clone(head), fPoints, point),
		"no points":     hour,
		"group station": put(append([]byte{byte(KindLinkKeysRequest)}, testID[:]...), fMAC, []byte{3, 0, 0, 0, 0, 0}),
	} {
		if m, err := Parse(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}
