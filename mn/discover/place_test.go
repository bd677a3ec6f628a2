package discover

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/neighbourhood"
)

// TestGPSD: fixes of a gpsd that goes away once, and says what nobody should.
func TestGPSD(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		for _, say := range [][]string{
			{`{"class":"VERSION","release":"3.25"}`, `{"class":"TPV","mode":3,"lat":47.37,"lon":8.54,"altHAE":400.5,"speed":1.5,"track":90.0}`, `not JSON`, `{"class":"TPV","mode":3,"lat":1,"lon":1}`},
			{`{"class":"TPV","mode":1}`, `{"class":"TPV","mode":2,"lat":47.38,"lon":8.54}`},
		} {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "?WATCH=") {
				t.Errorf("asked %q, %v", line, err)
			}
			fmt.Fprintln(conn, strings.Join(say, "\n"))
			defer conn.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	fixes, done := make(chan neighbourhood.Fix), make(chan struct{})
	go func() {
		defer close(done)
		GPSD{Addr: l.Addr().String(), Log: quiet}.Run(ctx, func(f neighbourhood.Fix) {
			select {
			case fixes <- f:
			case <-ctx.Done():
			}
		})
	}()
	for i, want := range []neighbourhood.Fix{
		{Where: neighbourhood.Location{X: 8.54, Y: 47.37, Alt: 400.5}, Speed: 1.5, Heading: 0},
		{}, // the connection was ended for what is no JSON
		{}, // no fix
		{Where: neighbourhood.Location{X: 8.54, Y: 47.38}, Speed: -1},
	} {
		f := <-fixes
		if f.Where != want.Where || f.Speed != want.Speed || math.Abs(f.Heading-want.Heading) > 1e-9 || f.At.IsZero() != (want.Where == neighbourhood.Location{}) {
			t.Errorf("fix %d is %+v, expected %+v", i, f, want)
		}
	}
	cancel()
	<-done
	<-served
}

// TestFile: the place in a file, as it changes.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "place")
	f := File{Path: path, Plan: "hall", Log: quiet}
	for _, c := range []struct {
		text string
		want neighbourhood.Fix
		ok   bool
	}{
		{"", neighbourhood.Fix{}, true},
		{"3 4.5\n", neighbourhood.Fix{Where: neighbourhood.Location{Plan: "hall", X: 3, Y: 4.5}, Speed: -1}, true},
		{"3 4.5 1.2 90", neighbourhood.Fix{Where: neighbourhood.Location{Plan: "hall", X: 3, Y: 4.5}, Speed: 1.2, Heading: math.Pi / 2}, true},
		{"3 4.5 1.2", neighbourhood.Fix{}, false},
		{"3 x", neighbourhood.Fix{}, false},
		{"3 NaN", neighbourhood.Fix{}, false},
		{"3 1e300", neighbourhood.Fix{}, false},
		{"3 4 -1 0", neighbourhood.Fix{}, false},
		{strings.Repeat(" ", 1000) + "1 2", neighbourhood.Fix{}, true}, // the part that is read is empty
		{strings.Repeat("1", 1000) + " 2", neighbourhood.Fix{}, false},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := f.read()
		if got.At.IsZero() == (c.want.Where != neighbourhood.Location{}) {
			t.Errorf("%.20q: at %v", c.text, got.At)
		}
		if got.At = c.want.At; got != c.want || (err == nil) != c.ok {
			t.Errorf("%.20q: %+v, %v, expected %+v", c.text, got, err, c.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := f.read(); err != nil || !got.At.IsZero() {
		t.Errorf("without the file: %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := New(Config{Locator: f, Log: quiet})
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	if _, ok := s.Fix(); ok {
		t.Error("a place, without a file")
	}
	if err := os.WriteFile(path, []byte("3 4"), 0o600); err != nil {
		t.Fatal(err)
	}
	for {
		if at, ok := s.Fix(); ok {
			if at.Where.X != 3 {
				t.Errorf("%+v", at)
			}
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-done
}

// FuzzPosition: whatever gpsd or a file says, a fix is a place there is.
func FuzzPosition(f *testing.F) {
	f.Add([]byte(`{"class":"TPV","mode":3,"lat":47.37,"lon":8.54,"altHAE":400.5,"speed":1.5,"track":90.0}`))
	f.Add([]byte(`{"class":"TPV","mode":3,"lat":1e300,"lon":8.54}`))
	f.Add([]byte("3 4.5 1.2 90"))
	f.Fuzz(func(t *testing.T, b []byte) {
		now := time.Now()
		one, _, _ := parseTPV(b, now)
		two, _ := parsePlace(string(b), "hall", now)
		for _, fix := range []neighbourhood.Fix{one, two} {
			if fix.At.IsZero() {
				continue
			}
			if !fix.Where.Valid() || math.IsNaN(fix.Speed) || math.IsNaN(fix.Heading) || math.IsInf(fix.Heading, 0) {
				t.Errorf("%+v", fix)
			}
		}
	})
}
