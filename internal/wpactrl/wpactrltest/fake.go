// Package wpactrltest is a stand-in for wpa_supplicant or hostapd behind a real control socket, and starts the real ones. It is
// imported by tests only.
package wpactrltest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Silent as an answer keeps the daemon quiet.
const Silent = "\x00"

// Daemon is a fake daemon. PING, ATTACH and DETACH it answers itself.
type Daemon struct {
	Socket string

	t      testing.TB
	answer func(command string) string

	mu       sync.Mutex
	conn     *net.UnixConn // nil: stopped
	monitors map[string]struct{}
	commands []string
	mute     bool
	wg       sync.WaitGroup
}

// Start starts a daemon on socket; answer gives the answer to every command but PING, ATTACH and DETACH: "" is UNKNOWN
// COMMAND. It runs on the daemon's goroutine and may call Emit. The daemon ends with the test.
func Start(t testing.TB, socket string, answer func(command string) string) *Daemon {
	t.Helper()
	d := &Daemon{Socket: socket, t: t, answer: answer}
	d.Restart()
	t.Cleanup(d.Stop)
	return d
}

// Restart starts the daemon anew if it was stopped: with nobody attached.
func (d *Daemon) Restart() {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.Socket), 0o755); err != nil {
		d.t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: d.Socket, Net: "unixgram"})
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	d.conn, d.monitors = conn, make(map[string]struct{})
	d.mu.Unlock()
	d.wg.Go(func() { d.serve(conn) })
}

// Stop ends the daemon and removes its socket.
func (d *Daemon) Stop() {
	d.mu.Lock()
	conn := d.conn
	d.conn = nil
	d.mu.Unlock()
	if conn != nil {
		conn.Close()
		d.wg.Wait()
		_ = os.Remove(d.Socket)
	}
}

// Mute makes the daemon take commands and answer none, as one that hangs; or not.
func (d *Daemon) Mute(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mute = on
}

// Emit sends an event to all that are attached: "<3>CTRL-EVENT-...".
func (d *Daemon) Emit(event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.monitors {
		if d.conn != nil {
			_, _ = d.conn.WriteToUnix([]byte(event), &net.UnixAddr{Name: name, Net: "unixgram"})
		}
	}
}

// Commands returns what was asked so far, without PING, ATTACH and DETACH.
func (d *Daemon) Commands() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.commands...)
}

// Attached returns how many hear the events.
func (d *Daemon) Attached() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.monitors)
}

func (d *Daemon) serve(conn *net.UnixConn) {
	buf := make([]byte, 8192)
	for {
		n, from, err := conn.ReadFromUnix(buf)
		if err != nil {
			return
		}
		answer := d.handle(string(buf[:n]), from)
		d.mu.Lock()
		mute := d.mute
		d.mu.Unlock()
		if from != nil && answer != Silent && !mute {
			_, _ = conn.WriteToUnix([]byte(answer), from)
		}
	}
}

func (d *Daemon) handle(command string, from *net.UnixAddr) string {
	d.mu.Lock()
	switch command {
	case "PING":
		d.mu.Unlock()
		return "PONG\n"
	case "ATTACH", "DETACH":
		if command == "ATTACH" && from != nil {
			d.monitors[from.Name] = struct{}{}
		} else if from != nil {
			delete(d.monitors, from.Name)
		}
		d.mu.Unlock()
		return "OK\n"
	}
	d.commands = append(d.commands, command)
	d.mu.Unlock()
	answer := d.answer(command)
	if answer == "" {
		return "UNKNOWN COMMAND\n"
	}
	if !strings.HasSuffix(answer, "\n") && answer != Silent {
		answer += "\n"
	}
	return answer
}
