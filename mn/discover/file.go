package discover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"openmpa/internal/neighbourhood"
)

const (
	fileEvery = 200 * time.Millisecond // between two looks
	fileMost  = 256                    // octets
)

// File tells where the node is by a file's only line,
//
//	X Y [SPEED HEADING]
//
// in metres of a plan, or in degrees of longitude and latitude where the plan has no name; m/s, and degrees anticlockwise from
// east. The node is there as long as the file says so: a file that is gone, or empty, is no position. Whoever writes it
// renames another one to it, so that no half is read.
type File struct {
	Path string
	Plan string
	Log  *slog.Logger
}

// Run implements Locator.
func (f File) Run(ctx context.Context, tell func(neighbourhood.Fix)) {
	tick := time.NewTicker(fileEvery)
	defer tick.Stop()
	wrong := "" // what was complained of last
	for {
		fix, err := f.read()
		tell(fix) // it is a new one as long as the file is there
		switch {
		case err == nil:
			wrong = ""
		case err.Error() != wrong:
			wrong = err.Error()
			f.Log.Warn("no position", "file", f.Path, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f File) read() (fix neighbourhood.Fix, err error) {
	in, err := os.Open(f.Path)
	if errors.Is(err, os.ErrNotExist) {
		return fix, nil
	}
	if err != nil {
		return fix, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, fileMost+1))
	if err != nil {
		return fix, err
	}
	return parsePlace(string(text), f.Plan, time.Now())
}

// parsePlace reads the line; nothing is the zero Fix.
func parsePlace(text, plan string, now time.Time) (fix neighbourhood.Fix, err error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return fix, nil
	}
	bad := fmt.Errorf("%.80q: expected X Y, or X Y SPEED HEADING: metres or degrees, m/s, degrees anticlockwise from east", text)
	if len(words) != 2 && len(words) != 4 || len(text) > fileMost {
		return fix, bad
	}
	var v [4]float64
	for i, w := range words {
		if v[i], err = strconv.ParseFloat(w, 64); err != nil || math.IsNaN(v[i]) || math.IsInf(v[i], 0) {
			return fix, bad
		}
	}
	fix = neighbourhood.Fix{At: now, Where: neighbourhood.Location{Plan: plan, X: v[0], Y: v[1]}, Speed: -1}
	if !fix.Where.Valid() || len(words) == 4 && v[2] < 0 {
		return neighbourhood.Fix{}, bad
	}
	if len(words) == 4 {
		fix.Speed, fix.Heading = v[2], math.Remainder(v[3]*math.Pi/180, 2*math.Pi)
	}
	return fix, nil
}
