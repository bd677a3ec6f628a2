package ha

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
)

func TestDenials(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*mip4.Request)
		want   mip4.Code
	}{
		"other home agent":      {func(q *mip4.Request) { q.HomeAgent = peer }, mip4.CodeUnknownHomeAgent},
		"bit r":                 {func(q *mip4.Request) { q.Flags |= mip4.FlagR }, mip4.CodePoorlyFormed},
		"bit x":                 {func(q *mip4.Request) { q.Flags |= mip4.FlagX }, mip4.CodePoorlyFormed},
		"minimal encapsulation": {func(q *mip4.Request) { q.Flags |= mip4.FlagM }, mip4.CodeNoSuchEncapsulation},
		"GRE":                   {func(q *mip4.Request) { q.Flags |= mip4.FlagG }, mip4.CodeNoSuchEncapsulation},
		"care-of is us":         {func(q *mip4.Request) { q.CareOf = agent }, mip4.CodePoorlyFormed},
		"care-of is at home":    {func(q *mip4.Request) { q.CareOf = home }, mip4.CodePoorlyFormed},
		"care-of is another's":  {func(q *mip4.Request) { q.CareOf = home2 }, mip4.CodePoorlyFormed},
		"care-of is nobody":     {func(q *mip4.Request) { q.CareOf = netip.IPv4Unspecified() }, mip4.CodePoorlyFormed},
		"care-of is a group":    {func(q *mip4.Request) { q.CareOf = netip.MustParseAddr("224.0.0.1") }, mip4.CodePoorlyFormed},
		"clock ahead":           {func(q *mip4.Request) { q.ID += 8 << 32 }, mip4.CodeIdentification},
		"clock behind":          {func(q *mip4.Request) { q.ID -= 8 << 32 }, mip4.CodeIdentification},
		"clock of another era":  {func(q *mip4.Request) { q.ID = 5 }, mip4.CodeIdentification},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			q := r.request(careB)
			c.change(&q)
			p, a := r.ask(q)
			if p.Code != c.want || a.Notice.What != NoticeDenied || a.Notice.Reason == "" || p.HomeAgent != agent {
				t.Errorf("got %v (%+v), want %v", p.Code, a.Notice, c.want)
			}
			if c.want == mip4.CodeIdentification {
				if uint32(p.ID) != uint32(q.ID) || p.ID>>32 != inet.NTP(r.now)>>32 {
					t.Errorf("identification %#x for %#x at %#x", p.ID, q.ID, inet.NTP(r.now))
				}
			} else if p.ID != q.ID {
				t.Errorf("identification %#x for %#x", p.ID, q.ID)
			}
			r.did()
			r.counted("requests_denied", 1)
		})
	}
}

func TestIgnoredBits(t *testing.T) {
	r := newRig(t)
	q := r.request(careB)
	q.Flags |= mip4.FlagS | mip4.FlagB
	if p := r.bind(q); p.Code != mip4.CodeAcceptedOneBinding {
		t.Errorf("%v", p.Code)
	}
}

func TestDroppedInSilence(t *testing.T) {
	r := newRig(t)
	q := r.request(careB)
	good := r.octets(q, sa)
	unknown := q
	unknown.HomeAddress = peer
	for name, c := range map[string]struct {
		b       []byte
		want    error
		counter string
	}{
		"nothing":             {nil, mip4.ErrFormat, "requests_dropped_malformed"},
		"a reply":             {append([]byte{3}, good[1:]...), mip4.ErrFormat, "requests_dropped_malformed"},
		"unknown extension":   {append(slices.Clone(good), 100, 0), mip4.ErrUnknownExtension, "requests_dropped_malformed"},
		"unknown mobile node": {r.octets(unknown, sa), errUnknownNode, "requests_dropped_unknown_node"},
		"unknown spi":         {r.octets(q, sa2), mip4.ErrSPI, "requests_dropped_security"},
		"not authenticated":   {good[:24], mip4.ErrNoAuthentication, "requests_dropped_security"},
		"foreign agent":       {append(slices.Clone(good), 34, 5, 0, 0, 1, 0, 9), errForeignAgent, "requests_dropped_foreign_agent"},
	} {
		before := r.c.Counters()[c.counter]
		if _, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careB, 434), c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		r.counted(c.counter, before+1)
	}
	r.did()
}

// TestWrongAuthenticator: code 131, but not for every packet of a flood.
func TestWrongAuthenticator(t *testing.T) {
	r := newRig(t)
	wrong := sa2
	wrong.SPI = 256
	b := r.octets(r.request(careB), wrong)
	p, a := r.askOctets(b)
	if p.Code != mip4.CodeMNAuthentication || a.Notice.What != NoticeDenied {
		t.Errorf("%+v", p)
	}
	if _, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careB, 434), b); !errors.Is(err, mip4.ErrAuthenticator) {
		t.Errorf("second: %v", err)
	}
	r.now = r.now.Add(deniedEvery)
	r.askOctets(b)
	r.did()
}

func TestReplay(t *testing.T) {
	r := newRig(t)
	first := r.octets(r.request(careB), sa)
	r.askOctets(first)
	second := r.octets(r.request(careA), sa)
	r.askOctets(second)
	if p, _ := r.askOctets(first); p.Code != mip4.CodeIdentification {
		t.Errorf("replay of the first: %v", p.Code)
	}
	if b := r.c.Bindings()[0]; *b.CareOf != careA {
		t.Errorf("care-of %v", *b.CareOf)
	}
	// A duplicate of the current one is answered again; its lifetime does not grow.
	r.now = r.now.Add(100 * time.Second)
	if p, _ := r.askOctets(second); !p.Code.Accepted() || p.Lifetime != 500 {
		t.Errorf("duplicate: %v, %d s", p.Code, p.Lifetime)
	}
	// What was denied for another reason counts as seen, too.
	q := r.request(careB)
	q.Flags |= mip4.FlagG
	b := r.octets(q, sa)
	r.askOctets(b)
	if p, _ := r.askOctets(b); p.Code != mip4.CodeIdentification {
		t.Errorf("replay of a denied one: %v", p.Code)
	}
}

func TestLifetimeGranted(t *testing.T) {
	for asked, want := range map[uint16]uint16{1: 1, 599: 599, 601: 600, mip4.LifetimeInfinite: 600} {
		r := newRig(t)
		q := r.request(careB)
		q.Lifetime = asked
		if p := r.bind(q); p.Lifetime != want {
			t.Errorf("asked %d, granted %d, want %d", asked, p.Lifetime, want)
		}
	}
}

func TestReplyGoesWhereTheRequestCameFrom(t *testing.T) {
	r := newRig(t)
	b := r.octets(r.request(careB), sa)
	from := netip.MustParseAddrPort("[::ffff:192.0.2.7]:5000")
	a, err := r.c.HandleRequest(r.now, from, b)
	if err != nil || a.To != netip.MustParseAddrPort("192.0.2.7:5000") || a.OnHomeLink {
		t.Errorf("%+v, %v", a, err)
	}
	q := r.request(home)
	q.Lifetime = 0
	a, err = r.c.HandleRequest(r.now, netip.AddrPortFrom(home, 434), r.octets(q, sa))
	if err != nil || !a.OnHomeLink {
		t.Errorf("%+v, %v", a, err)
	}
}
