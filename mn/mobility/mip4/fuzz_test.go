package mip4

import (
	"bytes"
	"reflect"
	"testing"
)

func seeds(f *testing.F) {
	request, reply := unhex(f, goldenRequestMD5), unhex(f, goldenReplySHA)
	f.Add(request)
	f.Add(reply)
	several := bytes.Clone(request)
	several[1] |= byte(FlagS)
	f.Add(several)
	f.Add(request[:requestLen])
	f.Add(append(bytes.Clone(request), 33, 5, 0, 0, 1, 0, 9))
	f.Add(append(bytes.Clone(request), 0, 0, 200, 1, 7))
	f.Add(append(bytes.Clone(reply[:replyLen]), 100, 0))
}

// FuzzRequest: what parses must survive being built and parsed again.
func FuzzRequest(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRequest(b)
		if err != nil {
			return
		}
		for _, x := range r.Extensions {
			if x.Type == ExtPadding || x.Type == ExtMobileHome {
				t.Fatalf("extension %d kept", x.Type)
			}
		}
		again, err := ParseRequest(mustRequest(t, r, md5SA))
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Verify(md5SA); err != nil {
			t.Fatal(err)
		}
		r.Envelope, again.Envelope = Envelope{Extensions: r.Extensions}, Envelope{Extensions: again.Extensions}
		if !reflect.DeepEqual(r, again) {
			t.Fatalf("parsed %+v, again %+v", r, again)
		}
	})
}

// FuzzReply is FuzzRequest for replies.
func FuzzReply(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReply(b)
		if err != nil {
			return
		}
		again, err := ParseReply(mustReply(t, r, sha2SA))
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Verify(sha2SA); err != nil {
			t.Fatal(err)
		}
		r.Envelope, again.Envelope = Envelope{Extensions: r.Extensions}, Envelope{Extensions: again.Extensions}
		if !reflect.DeepEqual(r, again) {
			t.Fatalf("parsed %+v, again %+v", r, again)
		}
	})
}

// FuzzMarker: nothing but what AppendMarkerPacket makes is a marker.
func FuzzMarker(f *testing.F) {
	f.Add(unhex(f, goldenMarkerUp))
	f.Add(marker(f, Marker{HomeAddress: home, HomeAgent: agent, ID: 1, Down: true}, md5SA))
	f.Add(ordinary(40))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := ParseMarkerPacket(b, md5SA)
		if !ok {
			return
		}
		if again, ok := ParseMarkerPacket(marker(t, m, md5SA), md5SA); !ok || again != m {
			t.Fatalf("%+v, again %+v, %v", m, again, ok)
		}
	})
}
