package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestHandoverID(t *testing.T) {
	raw := []byte("0123456789abcdef")
	h, err := NewHandoverID(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	const text = "30313233343536373839616263646566"
	if h.String() != text || h.IsZero() {
		t.Errorf("got %s", h)
	}
	back, err := ParseHandoverID(text)
	if err != nil || back != h {
		t.Errorf("parse: got %v, %v", back, err)
	}
	m, err := json.Marshal(map[HandoverID]HandoverID{h: h})
	if err != nil || string(m) != `{"`+text+`":"`+text+`"}` {
		t.Errorf("JSON: got %s, %v", m, err)
	}
	var in struct{ ID HandoverID }
	if err := json.Unmarshal([]byte(`{"ID":"`+text+`"}`), &in); err != nil || in.ID != h {
		t.Errorf("from JSON: got %v, %v", in.ID, err)
	}
	for _, bad := range []string{"", text[1:], text + "0", strings.Repeat("g", 32), strings.Repeat("é", 16)} {
		if _, err := ParseHandoverID(bad); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}

func TestNewHandoverIDErrors(t *testing.T) {
	broken := errors.New("broken")
	if _, err := NewHandoverID(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("want the source's error, got %v", err)
	}
	// A first draw of zeros is unlucky, a second one is a broken source.
	if h, err := NewHandoverID(bytes.NewReader(append(make([]byte, 16), []byte("0123456789abcdef")...))); err != nil || h.IsZero() {
		t.Errorf("got %v, %v", h, err)
	}
	if _, err := NewHandoverID(bytes.NewReader(make([]byte, 64))); err == nil {
		t.Error("zeros only: want an error")
	}
}

func TestEventJSON(t *testing.T) {
	h, err := ParseHandoverID("000102030405060708090a0b0c0d0e0f")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC)
	for _, c := range []struct {
		name string
		e    Event
		want string
	}{
		{"zero", Event{}, `{}`},
		{
			"begin",
			Event{Seq: 1, Time: at, Node: "a", Handover: h, Phase: PhaseDHCP, Kind: KindBegin, Attrs: map[string]any{"server": "10.2.0.3"}},
			`{"seq":1,"time":"2026-03-04T05:06:07.008Z","node":"a","handover":"000102030405060708090a0b0c0d0e0f","phase":"dhcp","kind":"begin","attrs":{"server":"10.2.0.3"}}`,
		},
		{
			"end",
			Event{Phase: PhaseDHCP, Kind: KindEnd, Duration: 12500 * time.Microsecond, Outcome: Failed, Reason: "no offer"},
			`{"phase":"dhcp","kind":"end","duration_ms":12.5,"outcome":"failed","reason":"no offer"}`,
		},
		{"end at once", Event{Kind: KindEnd, Outcome: OK}, `{"kind":"end","duration_ms":0,"outcome":"ok"}`},
		{"point", Event{Phase: PhaseDepart, Kind: KindPoint, Name: "marker"}, `{"phase":"depart","kind":"point","name":"marker"}`},
	} {
		got, err := json.Marshal(c.e)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: want %s, got %s, %v", c.name, c.want, got, err)
		}
		var back Event
		if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, c.e) {
			t.Errorf("%s: back: want %+v, got %+v, %v", c.name, c.e, back, err)
		}
	}
}

// Durations survive JSON to the nanosecond as long as they are shorter than a month.
func TestDurationSurvivesJSON(t *testing.T) {
	for _, d := range []time.Duration{1, 999, 1001, 4 * time.Millisecond, 12345678901, 24*time.Hour + 1} {
		text, err := json.Marshal(Event{Kind: KindEnd, Duration: d})
		if err != nil {
			t.Fatal(err)
		}
		var back Event
		if err := json.Unmarshal(text, &back); err != nil || back.Duration != d {
			t.Errorf("%d: got %d, %v", d, back.Duration, err)
		}
	}
}

// Records of other nodes come from a network.
func TestEventFromHostileJSON(t *testing.T) {
	for _, text := range []string{
		`{"duration_ms":-1}`, `{"duration_ms":1e300}`, `{"duration_ms":9223372036854.775807}`, `{"handover":"00"}`, `{"seq":-1}`, `[]`, `{"attrs":7}`, ``,
	} {
		var e Event
		if err := json.Unmarshal([]byte(text), &e); err == nil {
			t.Errorf("%s: want an error, got %+v", text, e)
		}
	}
}

func FuzzEventJSON(f *testing.F) {
	f.Add(`{"seq":1,"time":"2026-03-04T05:06:07.008Z","node":"a","handover":"000102030405060708090a0b0c0d0e0f","phase":"dhcp","kind":"end","duration_ms":12.5,"outcome":"failed","reason":"no offer","attrs":{"a":1}}`)
	f.Add(`{}`)
	f.Add(`{"kind":"end"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var e Event
		if json.Unmarshal([]byte(text), &e) != nil {
			return
		}
		if e.Duration < 0 {
			t.Fatalf("negative duration from %s", text)
		}
		first, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("%+v does not marshal: %v", e, err)
		}
		var again Event
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("%s does not come back: %v", first, err)
		}
		e.Duration, again.Duration = 0, 0 // hours in milliseconds round
		one, err1 := json.Marshal(e)
		two, err2 := json.Marshal(again)
		if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
			t.Fatalf("want %s, got %s", one, two)
		}
	})
}

type textual struct{}

func (textual) String() string               { return "never" }
func (textual) MarshalText() ([]byte, error) { return []byte("text"), nil }

type stringer struct{}

func (stringer) String() string { return "stringer" }

func TestAttrs(t *testing.T) {
	type point struct {
		X int `json:"x"`
	}
	shared := []string{"a", "b"}
	got := collect([]any{
		"int", 7, "float", 1.5, "bool", true, "string", "s", "duration", 1500 * time.Microsecond,
		"err", errors.New("bad"), "addr", netip.MustParseAddr("10.2.0.1"), "bytes",
		[]byte{1, 0xab},
		"text",
		textual{},
		"stringer",
		stringer{},
		"nil", nil, "list", shared, "struct",
		point{3},
		"nan", math.NaN(), "time", time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), "chan",
		[]any{make(chan int)},
		99, "last",
	})
	shared[0] = "changed"
	delete(got, "chan") // an address; that it does not fail is the point
	for k, want := range map[string]any{
		"int": int64(7), "float": 1.5, "bool": true, "string": "s", "duration": 1.5,
		"err": "bad", "addr": "10.2.0.1", "bytes": "01ab", "text": "text", "stringer": "stringer",
		"nan": "NaN", "time": "2026-01-02T03:04:05.000000006Z", "list": []any{"a", "b"}, "struct": map[string]any{"x": 3.0}, badKey: "last",
	} {
		if !reflect.DeepEqual(got[k], want) {
			t.Errorf("%s: want %#v, got %#v", k, want, got[k])
		}
	}
	if v, ok := got["nil"]; !ok || v != nil {
		t.Errorf("nil: got %#v, %v", v, ok)
	}
	if _, err := json.Marshal(Event{Attrs: got}); err != nil {
		t.Errorf("attributes must always marshal: %v", err)
	}
	if collect(nil) != nil {
		t.Error("no attributes: want nil")
	}
}
