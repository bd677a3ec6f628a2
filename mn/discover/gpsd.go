package discover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"time"

	"openmpa/internal/neighbourhood"
)

// The bounds of what is taken from gpsd.
const (
	gpsdLine    = 16 << 10 // octets; its longest is a list of satellites
	gpsdSilence = 30 * time.Second
	gpsdDial    = 5 * time.Second
	gpsdAgain   = time.Second // after a failure, twice as long each time, to gpsdMost
	gpsdMost    = time.Minute
)

// GPSD is gpsd, by its JSON protocol over TCP (gpsd_json(5)). It is asked again whenever it is gone.
type GPSD struct {
	Addr string // host and port: 127.0.0.1:2947
	Log  *slog.Logger
}

// Run implements Locator.
func (g GPSD) Run(ctx context.Context, tell func(neighbourhood.Fix)) {
	for rest := gpsdAgain; ctx.Err() == nil; {
		begun := time.Now()
		err := g.follow(ctx, tell)
		if ctx.Err() != nil {
			return
		}
		tell(neighbourhood.Fix{})
		if time.Since(begun) > gpsdMost {
			rest = gpsdAgain
		}
		g.Log.Warn("no position from gpsd", "addr", g.Addr, "err", err, "again_in", rest)
		select {
		case <-ctx.Done():
		case <-time.After(rest):
		}
		rest = min(2*rest, gpsdMost)
	}
}

// follow tells fixes until the connection ends.
func (g GPSD) follow(ctx context.Context, tell func(neighbourhood.Fix)) error {
	conn, err := (&net.Dialer{Timeout: gpsdDial}).DialContext(ctx, "tcp", g.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(gpsdSilence)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, `?WATCH={"enable":true,"json":true};`+"\n"); err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, gpsdLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("a line of more than %d octets: expected JSON of gpsd", gpsdLine)
		}
		if err != nil {
			return err
		}
		f, ok, err := parseTPV(line, time.Now())
		if err != nil {
			return err
		}
		if ok {
			tell(f)
		}
		if err := conn.SetDeadline(time.Now().Add(gpsdSilence)); err != nil {
			return err
		}
	}
}

// tpv is a time-position-velocity report, as far as it is of use; others have another class.
type tpv struct {
	Class string   `json:"class"`
	Mode  int      `json:"mode"` // 2 and 3 are fixes
	Lat   *float64 `json:"lat"`
	Lon   *float64 `json:"lon"`
	Alt   float64  `json:"altHAE"`
	Speed *float64 `json:"speed"` // m/s
	Track *float64 `json:"track"` // degrees clockwise from north
}

// parseTPV reads one line. ok is false for what is about something else; without a fix the answer is the zero Fix. The fix is
// as old as the line: gpsd's clock need not be ours.
func parseTPV(line []byte, now time.Time) (f neighbourhood.Fix, ok bool, err error) {
	var t tpv
	if err := json.Unmarshal(line, &t); err != nil {
		return f, false, fmt.Errorf("expected a line of JSON as gpsd writes it: %w", err)
	}
	if t.Class != "TPV" {
		return f, false, nil
	}
	if t.Mode < 2 || t.Lat == nil || t.Lon == nil {
		return f, true, nil
	}
	f = neighbourhood.Fix{At: now, Where: neighbourhood.Location{X: *t.Lon, Y: *t.Lat, Alt: t.Alt}, Speed: -1}
	if !f.Where.Valid() {
		return neighbourhood.Fix{}, true, nil
	}
	if t.Speed != nil && *t.Speed >= 0 && (*t.Speed == 0 || t.Track != nil) {
		if f.Speed = *t.Speed; f.Speed > 0 {
			f.Heading = math.Remainder((90-*t.Track)*math.Pi/180, 2*math.Pi)
		}
	}
	return f, true, nil
}
