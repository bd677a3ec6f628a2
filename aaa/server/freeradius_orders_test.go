package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
)

// orderingConf is a FreeRADIUS that answers a start by a CoA-Request, and an interim
// record by a Disconnect-Request: DIR, BOOKS and ORDERS are filled in.
const orderingConf = `
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = 'DIR'
name = home
logdir = 'DIR'
run_dir = 'DIR'
pidfile = 'DIR/home.pid'
max_requests = 1024
proxy_requests = yes
security {
  max_attributes = 200
  reject_delay = 0
  status_server = yes
  allow_vulnerable_openssl = yes
}
client routers {
  ipaddr = 127.0.0.0/8
  secret = testing123
  require_message_authenticator = yes
  coa_server = router
}
proxy server {
  default_fallback = no
}
home_server router {
  type = coa
  ipaddr = 127.0.0.1
  port = ORDERS
  secret = testing123
  coa {
    irt = 1
    mrt = 16
    mrc = 5
    mrd = 30
  }
}
modules {
  always ok {
    rcode = ok
  }
}
server default {
  listen {
    type = acct
    ipaddr = 127.0.0.1
    port = BOOKS
  }
  accounting {
    if (&Acct-Status-Type == Start) {
      update coa {
        &Acct-Session-Id := &request:Acct-Session-Id
        &User-Name := &request:User-Name
        &Session-Timeout := 1234
        &Event-Timestamp := "%l"
        &Message-Authenticator := 0x00
      }
    }
    if (&Acct-Status-Type == Interim-Update) {
      update disconnect {
        &Acct-Session-Id := &request:Acct-Session-Id
        &User-Name := &request:User-Name
        &NAS-Identifier := &request:NAS-Identifier
        &Event-Timestamp := "%l"
        &Message-Authenticator := 0x00
      }
    }
    ok
  }
}
`

// freeUDP is a port that nobody has.
func freeUDP(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestFreeRADIUSOrders: FreeRADIUS extends a session and ends it, and takes our answers.
func TestFreeRADIUSOrders(t *testing.T) {
	bin := program(t, "freeradius", "freeradius")
	dir, books, orders := t.TempDir(), freeUDP(t), freeUDP(t)
	mustWrite(t, filepath.Join(dir, "home.conf"), strings.NewReplacer(
		"DIR", dir, "BOOKS", fmt.Sprint(books.Port()), "ORDERS", fmt.Sprint(orders.Port())).Replace(orderingConf))
	name := filepath.Join(dir, "log")
	log, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(bin, "-d", dir, "-n", "home", "-fxx", "-l", "stdout")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	client, err := radius.NewClient(radius.Config{
		NASIdentifier: "ar-a", Orders: orders, Timeout: 20 * time.Second, Timing: radius.Timing{IRT: 100 * time.Millisecond, MRC: 100},
		Servers: []radius.Server{{Addr: netip.AddrPortFrom(books.Addr(), 1), Accounting: books, Secret: secret("testing123")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	o := &told{}
	carrier := aaa.NewRADIUSCarrier(client)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- carrier.Run(ctx, o) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, client.Close()); err != nil {
			t.Error(err)
		}
	}()
	wait := func(want string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			o.mu.Lock()
			got := strings.Join(o.all, ", ")
			o.mu.Unlock()
			if got == want {
				return
			}
			if time.Now().After(end) {
				text, _ := os.ReadFile(name)
				t.Fatalf("carried out: %q, expected %q, %+v\n%s", got, want, client.Counters(), text)
			}
		}
	}
	record := aaa.Record{Grant: aaa.Grant{Session: "s-1", Identity: nodeName}, Kind: aaa.RecordStart, Time: time.Now()}
	if err := carrier.Account(t.Context(), record); err != nil {
		text, _ := os.ReadFile(name)
		t.Fatalf("%v\n%s", err, text)
	}
	wait("extend 20m34s")
	record.Kind, record.Number = aaa.RecordInterim, 1
	if err := carrier.Account(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	wait("extend 20m34s, end")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "Received CoA-ACK") && strings.Contains(string(text), "Received Disconnect-ACK") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("our answers do not count\n%s", text)
		}
	}
	if n := client.Counters(); n.Orders != 2 || n.StaleOrders+n.BadAuthenticator+n.BadMessageAuthenticator+n.NoMessageAuthenticator > 0 {
		t.Errorf("%+v", n)
	}
}
