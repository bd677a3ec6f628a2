package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"openmpa/aaa/eap"
	"openmpa/aaa/server"
	"openmpa/paa/keys"
	"openmpa/testbed/bench/pac"
	"openmpa/testbed/space"
	"openmpa/testbed/tap"
)

// TestAAAEnds: nodes authenticate by a PAA at a server, by sockets, in full and resumed,
// and what either end says of it.
func TestAAAEnds(t *testing.T) {
	dir := t.TempDir()
	state, err := server.OpenState(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := state.Issue(aaaIdentity, filepath.Join(dir, "mn"))
	if err != nil {
		t.Fatal(err)
	}
	at := serve(t, state)
	config := filepath.Join(dir, "paa.yaml")
	text := fmt.Sprintf("aaa: [{radius: {servers: [{address: %q, secret-file: radius.secret}]}}]\n", at)
	for name, content := range map[string]string{config: text, filepath.Join(dir, "radius.secret"): aaaSecret} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	paa := free.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = free.Close()

	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- (&AAAPAA{Listen: paa, Config: config}).Run(t.Context(), inR, outW)
	}()
	answers := json.NewDecoder(outR)
	var first, last AAAState
	if err := answers.Decode(&first); err != nil || !first.Ready {
		t.Fatalf("%+v, %v", first, err)
	}
	for name, e := range map[string]pac.Nodes{
		"one after the other": {From: pac.Loopback(1, 1), Parallel: 1, TLS: "1.2", Times: 3},
		"side by side":        {Loopback: 3, Parallel: 3, TLS: "1.3", Times: 6, Stay: true},
		"for a while":         {From: pac.Loopback(1, 1), Parallel: 1, TLS: "1.3", For: time.Millisecond},
	} {
		e.PAA, e.Identity, e.Certificate, e.Key, e.CA, e.ServerName, e.Fragment = paa, aaaIdentity, files[0], files[1], files[2], aaaName, tauthFragment
		var out bytes.Buffer
		var took pac.Took
		if err := e.Run(t.Context(), &out); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := json.Unmarshal(out.Bytes(), &took); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := max(1, e.Times)
		if len(took.Took) != want || len(took.Failed) > 0 || took.Took[0] <= 0 || took.Span < took.Took[0] {
			t.Errorf("%s: %+v, expected %d", name, took, want)
		}
	}
	stranger := pac.Nodes{
		PAA: paa, From: pac.Loopback(1, 1), Parallel: 1, Identity: aaaIdentity, Certificate: files[0], Key: files[1], CA: files[2],
		ServerName: "other.home.example", TLS: "1.3", Times: 1,
	}
	var out bytes.Buffer
	var took pac.Took
	if err := stranger.Run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &took); err != nil || len(took.Failed) != 1 || len(took.Took) != 0 {
		t.Errorf("a server of another name: %+v, %v", took, err)
	}
	if _, err := io.WriteString(inW, "\n"); err != nil {
		t.Fatal(err)
	}
	if err := answers.Decode(&last); err != nil || last.Opened != 3+6+1 || last.CPU == 0 || last.Kernel >= last.CPU {
		t.Errorf("%+v, %v", last, err)
	}
	if err := inW.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestHelperEnds: nobody waits for a process of nodes when the bench is to end.
func TestHelperEnds(t *testing.T) {
	s, err := space.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	h, err := side{Space: s}.startHelper(ctx, filepath.Join(t.TempDir(), "log"), 600, "sleep")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := h.read(new(any)); err == nil {
		t.Error("it has said something")
	}
	if err := h.stop(); err == nil || h.cmd.ProcessState.Success() {
		t.Errorf("it ended by itself: %v", err)
	}
}

// serve runs a server of ours over loopback.
func serve(t *testing.T, state *server.State) netip.AddrPort {
	t.Helper()
	cert, err := state.ServerCertificate(aaaName)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{TLS: eap.ServerConfig{Certificate: cert, ClientCAs: state.Roots()}})
	if err != nil {
		t.Fatal(err)
	}
	front, err := server.NewRADIUS(s, server.RADIUSConfig{Clients: []server.Client{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Secret: keys.NewSecret([]byte(aaaSecret))}}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Run(ctx) }()
	go func() { done <- front.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

var (
	wireRouter = netip.MustParseAddrPort("10.77.0.1:40000")
	wireServer = netip.MustParseAddrPort("10.77.0.2:1812")
)

// onTheWire is a RADIUS packet in a frame; number tells requests apart.
func onTheWire(from, to netip.AddrPort, code, id, number byte, state bool, eapLen int) tap.Frame {
	p := append([]byte{code, id, 0, 0}, bytes.Repeat([]byte{number}, 16)...)
	if state {
		p = append(p, attributeState, 3, 1)
	}
	for ; eapLen > 0; eapLen -= min(eapLen, 253) {
		n := min(eapLen, 253)
		p = append(append(p, attributeEAP, byte(n+2)), make([]byte, n)...)
	}
	p[2], p[3] = byte(len(p)>>8), byte(len(p))
	udp := []byte{byte(from.Port() >> 8), byte(from.Port()), byte(to.Port() >> 8), byte(to.Port()), byte((len(p) + 8) >> 8), byte(len(p) + 8), 0, 0}
	udp = append(udp, p...)
	ip := append([]byte{0x45, 0, byte((len(udp) + 20) >> 8), byte(len(udp) + 20), 0, 0, 0, 0, 64, 17, 0, 0}, from.Addr().AsSlice()...)
	ip = append(ip, to.Addr().AsSlice()...)
	return tap.Frame{Bytes: append(append(make([]byte, 12), 8, 0), append(ip, udp...)...)}
}

// TestRADIUSOnTheWire: an authentication is from the first request to the accept, with
// each request once, whatever else is on the link.
func TestRADIUSOnTheWire(t *testing.T) {
	w := &radiusWire{server: wireServer}
	begin := time.Unix(1000, 0)
	at := func(n int, f tap.Frame) {
		f.At = begin.Add(time.Duration(n) * time.Millisecond)
		w.frame(f)
	}
	other := netip.MustParseAddrPort("10.77.0.2:1813")
	at(0, onTheWire(wireRouter, other, 4, 1, 1, false, 0)) // accounting, elsewhere
	at(1, onTheWire(wireRouter, wireServer, codeAccessRequest, 1, 1, false, 20))
	at(2, onTheWire(wireServer, wireRouter, codeAccessChallenge, 1, 9, true, 300))
	at(3, onTheWire(wireRouter, wireServer, codeAccessRequest, 2, 2, true, 500))
	at(4, onTheWire(wireRouter, wireServer, codeAccessRequest, 2, 2, true, 500)) // again
	at(5, onTheWire(wireServer, wireRouter, codeAccessAccept, 2, 9, false, 4))
	at(7, onTheWire(wireRouter, wireServer, codeAccessRequest, 3, 3, false, 20))
	at(8, onTheWire(wireServer, wireRouter, codeAccessReject, 3, 9, false, 4))
	if len(w.all) != 2 || w.odd != 0 || w.now != nil {
		t.Fatalf("%+v, %d odd, %+v open", w.all, w.odd, w.now)
	}
	a, b := w.all[0], w.all[1]
	if a.Took() != 4*time.Millisecond || a.Trips != 2 || a.Repeated != 1 || !a.Accepted || a.Up != 520 || a.Down != 304 {
		t.Errorf("%+v", a)
	}
	if b.Took() != time.Millisecond || b.Trips != 1 || b.Accepted {
		t.Errorf("%+v", b)
	}
	// What has no begin or no end is not counted as one, and said.
	at(9, onTheWire(wireServer, wireRouter, codeAccessAccept, 3, 9, false, 4))
	at(10, onTheWire(wireRouter, wireServer, codeAccessRequest, 4, 4, true, 20))
	at(11, onTheWire(wireRouter, wireServer, codeAccessRequest, 5, 5, false, 20))
	at(12, onTheWire(wireRouter, wireServer, codeAccessRequest, 6, 6, false, 20))
	if len(w.all) != 2 || w.odd != 2 || w.now == nil {
		t.Errorf("%d, %d odd, %+v open", len(w.all), w.odd, w.now)
	}
}

// TestHostileFrames: frames that are cut anywhere are no reason to end.
func TestHostileFrames(t *testing.T) {
	w := &radiusWire{server: wireServer}
	f := onTheWire(wireRouter, wireServer, codeAccessRequest, 1, 1, true, 600)
	for n := range f.Bytes {
		w.frame(tap.Frame{Bytes: f.Bytes[:n]})
	}
	for i := range f.Bytes {
		for _, v := range []byte{0, 1, 0xff} {
			b := bytes.Clone(f.Bytes)
			b[i] = v
			w.frame(tap.Frame{Bytes: b})
		}
	}
}

// TestSameTrips: the bench fails when ours takes other round trips than eapol_test.
func TestSameTrips(t *testing.T) {
	for _, c := range []struct {
		ours, theirs []float64
		problems     int
	}{
		{[]float64{4, 4}, []float64{4, 4, 4}, 0},
		{[]float64{4, 4}, []float64{5, 5}, 1},
		{[]float64{4, 5}, []float64{4, 4}, 1},
		{nil, []float64{4}, 0},
	} {
		r := &Result{}
		a := &Adder{r}
		row := rowsOfTAuth("EAP-TLS 1.3").trips
		a.AddRound(row, subjectOurs, c.ours...)
		a.AddRound(row, subjectEapol, c.theirs...)
		sameTrips(a, row.Name)
		if len(r.Problems) != c.problems {
			t.Errorf("ours %v, theirs %v: %q", c.ours, c.theirs, r.Problems)
		}
	}
}
