package udp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open listens on an address of this machine.
func open(t *testing.T, network, at string) *Conn {
	t.Helper()
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	u, err := Of(c)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func at(c *Conn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// TestThereAndBack has a socket of package net hear and say the same.
func TestThereAndBack(t *testing.T) {
	for _, c := range []struct{ name, network, at, other string }{
		{"IPv4", "udp4", "127.0.0.1:0", "127.0.0.1:0"},
		{"IPv6", "udp6", "[::1]:0", "[::1]:0"},
		{"IPv4 at a socket of both", "udp", "[::]:0", "127.0.0.1:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours := open(t, c.network, c.at)
			theirs, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(c.other)))
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			to := netip.AddrPortFrom(netip.MustParseAddrPort(c.other).Addr(), at(ours).Port())
			buf, hear := make([]byte, 2000), make([]byte, 2000)
			for _, n := range []int{1, 1500, 0, 700} {
				want := bytes.Repeat([]byte{byte(n)}, n)
				if _, err := theirs.WriteToUDPAddrPort(want, to); err != nil {
					t.Fatal(err)
				}
				got, from, err := ours.ReadFromUDPAddrPort(buf)
				if err != nil || !bytes.Equal(buf[:got], want) {
					t.Fatalf("%d octets: got %d, %v", n, got, err)
				}
				if own := theirs.LocalAddr().(*net.UDPAddr).AddrPort(); netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != own {
					t.Errorf("from %v, expected %v", from, own)
				}
				if from.Addr().Is4In6() != (c.network == "udp") {
					t.Errorf("from %v: package net maps the address at a socket of both", from)
				}
				if sent, err := ours.WriteToUDPAddrPort(want, from); err != nil || sent != n {
					t.Fatalf("sent %d of %d: %v", sent, n, err)
				}
				if got, _, err = theirs.ReadFromUDPAddrPort(hear); err != nil || !bytes.Equal(hear[:got], want) {
					t.Errorf("%d octets came back as %d, %v", n, got, err)
				}
			}
		})
	}
}

// TestWaits has a reader wait for what is sent later.
func TestWaits(t *testing.T) {
	ours, other := open(t, "udp4", "127.0.0.1:0"), open(t, "udp4", "127.0.0.1:0")
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(20 * time.Millisecond)
		if _, err := other.WriteToUDPAddrPort([]byte("late"), at(ours)); err != nil {
			t.Error(err)
		}
	})
	buf := make([]byte, 10)
	n, _, err := ours.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "late" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	wg.Wait()
	if _, err := other.WriteToUDPAddrPort([]byte("more than there is room for"), at(ours)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := ours.ReadFromUDPAddrPort(buf); err != nil || n != len(buf) {
		t.Errorf("a datagram that is longer: %d, %v", n, err)
	}
}

func TestErrors(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0")
	buf := make([]byte, 10)
	if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadFromUDPAddrPort(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []netip.AddrPort{{}, netip.MustParseAddrPort("[::1]:1")} {
		if _, err := c.WriteToUDPAddrPort(buf, to); err == nil {
			t.Errorf("%v: written to by a socket of IPv4", to)
		}
	}
	if _, err := c.WriteToUDPAddrPort(make([]byte, 70_000), at(c)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("too long: %v", err)
	}
	time.AfterFunc(10*time.Millisecond, func() { _ = c.Close() })
	if _, _, err := c.ReadFromUDPAddrPort(buf); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := c.WriteToUDPAddrPort(buf, at(open(t, "udp4", "127.0.0.1:0"))); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestConnected has the kernel say that nobody is there.
func TestConnected(t *testing.T) {
	other := open(t, "udp4", "127.0.0.1:0")
	to := at(other)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, err := Of(conn)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write([]byte("hello")); n != 5 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	buf := make([]byte, 10)
	n, from, err := other.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "hello" || from != at(c) {
		t.Fatalf("%q from %v, %v", buf[:n], from, err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadFromUDPAddrPort(buf); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody is there: %v", err)
	}
}

// TestMany has several write at once.
func TestMany(t *testing.T) {
	ours, other := open(t, "udp4", "127.0.0.1:0"), open(t, "udp4", "127.0.0.1:0")
	const each, writers = 50, 4
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := other.WriteToUDPAddrPort(bytes.Repeat([]byte{byte(w)}, 10+i), at(ours)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	next := [writers]int{}
	buf := make([]byte, 100)
	for range each * writers {
		n, _, err := ours.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		w := buf[0]
		if want := bytes.Repeat([]byte{w}, 10+next[w]); !bytes.Equal(buf[:n], want) {
			t.Fatalf("writer %d: %d octets, expected %d in order", w, n, len(want))
		}
		next[w]++
	}
}

// TestNothingAllocated: neither reading nor writing makes garbage.
func TestNothingAllocated(t *testing.T) {
	ours, other := open(t, "udp4", "127.0.0.1:0"), open(t, "udp4", "127.0.0.1:0")
	buf, to := make([]byte, 100), at(ours)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := other.WriteToUDPAddrPort(buf, to); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ours.ReadFromUDPAddrPort(buf); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestOf(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if _, err := Of(c); err == nil {
		t.Error("of a socket that is closed")
	}
}

// BenchmarkEcho has one datagram after the other, each answered by a reader that has slept.
func BenchmarkEcho(b *testing.B) {
	type conn interface {
		ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
		WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	}
	for _, c := range []struct {
		name string
		wrap func(*net.UDPConn) conn
	}{
		{"net", func(c *net.UDPConn) conn { return c }},
		{"udp", func(c *net.UDPConn) conn {
			u, err := Of(c)
			if err != nil {
				b.Fatal(err)
			}
			return u
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var lc net.ListenConfig
			p, err := lc.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			at := p.LocalAddr().(*net.UDPAddr).AddrPort()
			echo := c.wrap(p.(*net.UDPConn))
			var wg sync.WaitGroup
			wg.Go(func() {
				buf := make([]byte, 2000)
				for {
					n, from, err := echo.ReadFromUDPAddrPort(buf)
					if err != nil {
						return
					}
					if _, err := echo.WriteToUDPAddrPort(buf[:n], from); err != nil {
						return
					}
				}
			})
			defer wg.Wait()
			defer p.Close()
			q, err := lc.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			ask := c.wrap(q.(*net.UDPConn))
			buf := make([]byte, 600)
			cpu := func() time.Duration {
				var u syscall.Rusage
				if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
					b.Fatal(err)
				}
				return time.Duration(u.Utime.Nano() + u.Stime.Nano())
			}
			before := cpu()
			for b.Loop() {
				time.Sleep(200 * time.Microsecond)
				if _, err := ask.WriteToUDPAddrPort(buf, at); err != nil {
					b.Fatal(err)
				}
				if _, _, err := ask.ReadFromUDPAddrPort(buf); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
