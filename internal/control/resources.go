package control

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
)

// Resources is what a daemon's process takes at the moment: that it stays the same
// while the daemon works is how a leak is told from work.
type Resources struct {
	Goroutines    int    `json:"goroutines"`
	Descriptors   int    `json:"descriptors"`
	HeapBytes     uint64 `json:"heap_bytes"`     // in use, after a garbage collection
	ResidentBytes uint64 `json:"resident_bytes"` // of the process, before it
}

// resources measures this process.
func resources() (Resources, error) {
	var pages, resident uint64
	statm, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(statm), &pages, &resident)
	}
	if err != nil {
		return Resources{}, fmt.Errorf("memory of this process: %w (is /proc mounted?)", err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return Resources{}, fmt.Errorf("descriptors of this process: %w (is /proc mounted?)", err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Resources{
		Goroutines: runtime.NumGoroutine(), Descriptors: len(open) - 1, // the folder itself was open
		HeapBytes: m.HeapAlloc, ResidentBytes: resident * uint64(os.Getpagesize()),
	}, nil
}

func (s *Server) resources(w http.ResponseWriter, _ *http.Request) {
	r, err := resources()
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	s.reply(w, http.StatusOK, r)
}

// Resources says what the daemon's process takes; it collects its garbage for that.
func (c *Client) Resources(ctx context.Context) (Resources, error) {
	var r Resources
	err := c.call(ctx, http.MethodGet, "/resources", nil, &r)
	return r, err
}
