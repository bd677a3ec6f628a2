package apctl

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"openmpa/internal/catest"
	"openmpa/internal/osnet/osnettest"
	"openmpa/par/apctl/apctltest"
)

// authority is catest's, with both ends of the channel.
type authority struct {
	*catest.Authority
	t *testing.T
}

func newAuthority(t *testing.T) *authority { return &authority{catest.NewAuthority(t), t} }

// lo sets the loopback up where it is the tests' own: see TestMain.
func lo(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		osnettest.IP(t, "link set lo up")
	}
}

func (a *authority) agent(l *Local, at string, hold time.Duration) *Agent {
	a.t.Helper()
	lo(a.t)
	listener, err := (&net.ListenConfig{}).Listen(a.t.Context(), "tcp", at)
	if err != nil {
		a.t.Fatal(err)
	}
	g, err := Serve(AgentConfig{
		Listener: listener, Certificate: a.Issue("ap1.a.example", x509.ExtKeyUsageServerAuth), Roots: a.Roots(),
		PAAs: []string{"paa.a.example", "paa2.a.example"}, Points: []*Local{l}, Hold: hold,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		if err := g.Close(); err != nil && !errors.Is(err, ErrAway) {
			a.t.Error(err)
		}
	})
	return g
}

func (a *authority) remote(at string, change func(*RemoteConfig)) *Remote {
	a.t.Helper()
	cfg := RemoteConfig{
		Info: ap1, Address: at, Agent: "ap1.a.example", Certificate: a.Issue("paa.a.example", x509.ExtKeyUsageClientAuth),
		Roots: a.Roots(), Keepalive: 20 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	r, err := OpenRemote(cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, ErrAway) {
			a.t.Error(err)
		}
	})
	return r
}

// listenLocal is where tests in their own namespace listen.
const listenLocal = "127.0.0.1:0"

// TestRemote: PAA, TLS, agent and the real hostapd.
func TestRemote(t *testing.T) {
	r := apctltest.Start(t, "ap0", bssid)
	ca := newAuthority(t)
	newLocal := func() *Local { return openLocal(t, LocalConfig{Info: ap1, Socket: r.Socket}) }
	agent := ca.agent(newLocal(), listenLocal, time.Hour)
	at := agent.Addr().String()
	paa := ca.remote(at, nil)
	settled := func() bool { s := paa.Status(); return s.Up && !s.Pending }
	apctltest.Eventually(t, "connected", settled)

	k := key('a', time.Hour)
	if err := paa.Install(t.Context(), k); err != nil || !has(r, k) {
		t.Errorf("install: %v, hostapd has %v", err, r.Has())
	}
	if err := paa.Remove(t.Context(), station); err != nil || has(r, k) {
		t.Errorf("remove: %v, hostapd has %v", err, r.Has())
	}
	if err := paa.Install(t.Context(), k); err != nil {
		t.Error(err)
	}

	r.Kill() // the agent's hostapd
	apctltest.Eventually(t, "the PAA learns that hostapd is away", func() bool { return !paa.Status().Up })
	if s := paa.Status(); !strings.Contains(s.Why, "no daemon listens") || s.Keys != 1 {
		t.Errorf("%+v", s)
	}
	r.Again()
	apctltest.Eventually(t, "the key is there again", func() bool { return settled() && has(r, k) })

	if err := agent.Close(); err != nil { // an agent that ends takes its keys along
		t.Error(err)
	}
	if n := len(r.Has()); n != 0 {
		t.Errorf("%d keys after the agent's end", n)
	}
	apctltest.Eventually(t, "the PAA learns that the agent is away", func() bool { return !paa.Status().Up })
	other := key('b', time.Hour)
	other.Station[5] = 9
	if err := paa.Install(t.Context(), other); !errors.Is(err, ErrAway) {
		t.Errorf("away: %v", err)
	}
	ca.agent(newLocal(), at, 50*time.Millisecond)
	apctltest.Eventually(t, "both keys are there", func() bool { return settled() && has(r, k) && has(r, other) })

	// Another PAA cannot have the access point, nor an agent serve two.
	second := ca.remote(at, func(c *RemoteConfig) { c.Certificate = ca.Issue("paa2.a.example", x509.ExtKeyUsageClientAuth) })
	apctltest.Eventually(t, "refused", func() bool { return strings.Contains(second.Status().Why, "paa.a.example") })
	if !has(r, k) {
		t.Error("another PAA took a key away")
	}
	second.Close()

	if err := paa.Close(); err != nil {
		t.Error(err)
	}
	apctltest.Eventually(t, "a PAA that ends takes its keys along", func() bool { return len(r.Has()) == 0 })

	// One that is lost without a word keeps them for the time of hold.
	lost := ca.remote(at, nil)
	apctltest.Eventually(t, "connected", func() bool { s := lost.Status(); return s.Up && !s.Pending })
	if err := lost.Install(t.Context(), k); err != nil || !has(r, k) {
		t.Errorf("install: %v", err)
	}
	lost.stop()
	lost.wg.Wait()
	lost.mu.Lock()
	lost.line.raw.Close()
	lost.mu.Unlock()
	apctltest.Eventually(t, "keys of a PAA that is lost go", func() bool { return len(r.Has()) == 0 })
}

// TestIdentities: certificates are checked both ways.
func TestIdentities(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	l := openLocal(t, LocalConfig{Info: ap1, Socket: t.TempDir() + "/none"})
	agent := ca.agent(l, listenLocal, time.Hour)
	at := agent.Addr().String()
	for name, c := range map[string]struct {
		change func(*RemoteConfig)
		why    string
	}{
		"PAA of no such name": {func(c *RemoteConfig) { c.Certificate = ca.Issue("evil.example", x509.ExtKeyUsageClientAuth) }, ""},
		"PAA's certificate is a server's": {func(c *RemoteConfig) {
			c.Certificate = ca.Issue("paa.a.example", x509.ExtKeyUsageServerAuth)
		}, ""},
		"PAA of another authority": {func(c *RemoteConfig) {
			c.Certificate = foreign.Issue("paa.a.example", x509.ExtKeyUsageClientAuth)
		}, ""},
		"agent of another name":      {func(c *RemoteConfig) { c.Agent = "ap2.a.example" }, "ap2.a.example"},
		"agent of another authority": {func(c *RemoteConfig) { c.Roots = foreign.Roots() }, "unknown authority"},
	} {
		r := ca.remote(at, c.change)
		apctltest.Eventually(t, name, func() bool {
			return strings.Contains(r.Status().Why, "agent") && strings.Contains(r.Status().Why, c.why)
		})
		if err := r.Install(t.Context(), key('a', time.Hour)); !errors.Is(err, ErrAway) {
			t.Errorf("%s: %v", name, err)
		}
		if n := l.Status().Keys; n != 0 {
			t.Errorf("%s: the agent took a key", name)
		}
		r.Close()
	}
	r := ca.remote(at, func(c *RemoteConfig) { c.BSSID[5] = 8 })
	apctltest.Eventually(t, "another access point", func() bool { return errors.Is(r.Install(context.Background(), key('a', time.Hour)), ErrMismatch) })
	// TLS 1.2 is refused.
	_, err := tls.Dial("tcp", at, &tls.Config{MaxVersion: tls.VersionTLS12, RootCAs: ca.Roots(), ServerName: "ap1.a.example"})
	if err == nil {
		t.Error("TLS 1.2 taken")
	}
}

// TestAgentProtocol: what no client of ours sends ends the connection, and no key is in any answer.
func TestAgentProtocol(t *testing.T) {
	ca := newAuthority(t)
	l := openLocal(t, LocalConfig{Info: ap1, Socket: t.TempDir() + "/none"})
	at := ca.agent(l, listenLocal, time.Hour).Addr().String()
	hello := `{"op":"hello","version":1,"point":{"name":"ap1","bssid":"02:00:00:00:01:00","akm":1}}` + "\n"
	secret := strings.Repeat("5a", 32)
	for line, want := range map[string]string{
		`{"op":"status"}`:                                                   "", // no hello before
		hello + hello:                                                       "",
		hello + `{"op":"nonsense"}`:                                         "",
		hello + `{"op":"remove"}`:                                           "",
		hello + `{"op":"status","x":1}`:                                     "",
		hello + `{"op":"status"}{"op":"status"}`:                            "",
		hello + strings.Repeat("x", 3000):                                   "",
		hello + `{"op":"install","pmk":"` + secret:                          "",
		hello + `{"op":"remove","station":"x"}`:                             "",
		hello + `{"op":"left","station":"02:00:00:00:02:00","ago":-1}`:      "",
		hello + `{"op":"left","station":"02:00:00:00:02:00","ago":3600001}`: "",
		hello + `{"op":"left","station":"02:00:00:00:02:00","ago":20}`:      `{"ok":true`,
		hello + `{"op":"install","pmk":"` + secret + `","station":"02:00:00:00:02:00","lifetime":0}`:        `{"code":"refused"`,
		hello + `{"op":"install","pmk":"` + secret + `","station":"02:00:00:00:02:00","lifetime":60}`:       `{"code":"away"`,
		hello + `{"op":"install","pmk":"zz` + secret[2:] + `","station":"02:00:00:00:02:00","lifetime":60}`: "",
		strings.Replace(hello, `"version":1`, `"version":2`, 1):                                             `"code":"mismatch"`,
		strings.Replace(hello, `"akm":1`, `"akm":5`, 1):                                                     `"code":"mismatch"`,
	} {
		conn, err := tls.Dial("tcp", at, &tls.Config{
			RootCAs: ca.Roots(), ServerName: "ap1.a.example", Certificates: []tls.Certificate{ca.Issue("paa.a.example", x509.ExtKeyUsageClientAuth)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(line + "\n")); err != nil {
			t.Error(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		in := bufio.NewScanner(conn)
		if strings.HasPrefix(line, hello) && (!in.Scan() || !strings.Contains(in.Text(), `"ok":true`)) {
			t.Errorf("hello: %q %v", in.Text(), in.Err())
		}
		got := ""
		if in.Scan() {
			got = in.Text()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) || strings.Contains(got, secret) {
			t.Errorf("%.120s: %q, want %q", line, got, want)
		}
		conn.Close()
	}
}

func TestServeChecks(t *testing.T) {
	if _, err := Serve(AgentConfig{}); err == nil {
		t.Error("want an error")
	}
	for _, cfg := range []RemoteConfig{{}, {Info: ap1}, {Info: ap1, Address: "x:1", Agent: "x"}} {
		if _, err := OpenRemote(cfg); err == nil {
			t.Errorf("%+v: want an error", cfg)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"install","station":"02:00:00:00:02:00","lifetime":60,"pmk":"` + strings.Repeat("5a", 32) + `"}`))
	f.Add([]byte(`{"op":"hello","version":1,"point":{"name":"ap1","bssid":"02:00:00:00:01:00","akm":1}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRequest(line)
		if err != nil {
			return
		}
		again, err := appendRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > maxLine {
			return // a name of another length, which no access point has
		}
		if back, err := parseRequest(again); err != nil || back.Op != r.Op {
			t.Errorf("%q became %q: %v", line, again, err)
		}
	})
}
