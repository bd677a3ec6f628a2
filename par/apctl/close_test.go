package apctl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"openmpa/par/apctl/apctltest"
)

// slowAgent answers at once, but once there was an install, to status only when it may. It tells the operations that came.
func slowAgent(t *testing.T, ca *authority, may <-chan struct{}) (at string, ops <-chan string) {
	t.Helper()
	lo(t)
	listener, err := tls.Listen("tcp", listenLocal, &tls.Config{
		Certificates: []tls.Certificate{ca.Issue("ap1.a.example", x509.ExtKeyUsageServerAuth)},
	})
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan string, 64)
	go func() {
		defer close(came)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		installed := false
		for in := newLines(conn); ; {
			var r request
			if in.next(func(line []byte) (err error) { r, err = parseRequest(line); return err }) != nil {
				return
			}
			came <- r.Op
			if installed = installed || r.Op == opInstall; installed && r.Op == opStatus {
				<-may
			}
			if writeReply(conn, reply{OK: true, Up: true}) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String(), came
}

// until waits for an operation.
func until(t *testing.T, ops <-chan string, want string) {
	t.Helper()
	for {
		select {
		case op, ok := <-ops:
			if !ok {
				t.Fatalf("the connection ended without %s", want)
			}
			if op == want {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no %s", want)
		}
	}
}

// TestCloseUnderWay: Close takes the keys from the agent by the connection there is, when a request is under way on it.
func TestCloseUnderWay(t *testing.T) {
	ca, may := newAuthority(t), make(chan struct{})
	paa, ops := ca.held(t, may, nil)
	closed := make(chan error)
	go func() { closed <- paa.Close() }()
	<-paa.ctx.Done()
	close(may)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	until(t, ops, opFlush)
}

// TestCloseUnanswered: an agent that is silent does not keep Close.
func TestCloseUnanswered(t *testing.T) {
	ca, may := newAuthority(t), make(chan struct{})
	paa, ops := ca.held(t, may, func(c *RemoteConfig) { c.Timeout = time.Hour })
	if err := paa.Close(); !errors.Is(err, ErrAway) {
		t.Errorf("the agent had not answered: %v", err)
	}
	close(may)
	for range ops { // until its end
	}
}

// held is a PAA that has given its agent a key, with a request under way that the agent answers when it may.
func (a *authority) held(t *testing.T, may <-chan struct{}, change func(*RemoteConfig)) (paa *Remote, ops <-chan string) {
	t.Helper()
	at, ops := slowAgent(t, a, may)
	paa = a.remote(at, change)
	apctltest.Eventually(t, "connected", func() bool { return paa.Status().Up })
	if err := paa.Install(t.Context(), key('a', time.Hour)); err != nil {
		t.Fatal(err)
	}
	until(t, ops, opInstall)
	until(t, ops, opStatus)
	return paa, ops
}
