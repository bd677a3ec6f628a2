package wpactrl

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/paa/keys"
)

const (
	maxDatagram    = 16 << 10 // octets of an answer or event; the daemons end theirs at 4,096
	maxCommand     = 4096     // octets of a command, as the daemons take them
	defaultTimeout = 2 * time.Second
	defaultPing    = time.Second
)

// Config says which daemon to talk to.
type Config struct {
	// Socket is the path of the daemon's control socket.
	Socket string
	// Dir is where the client makes a directory for its own sockets; default os.TempDir. The daemon must see it under the
	// same name: with a systemd unit that has PrivateTmp, of ours or the daemon's, name a place below /run.
	Dir string
	// Timeout bounds one command and its answer, and a PING; default 2 s. A command's ctx may end it earlier.
	Timeout time.Duration
	// Ping is the time between PINGs to the daemon while somebody listens for events, and between attempts to find it
	// again; default 1 s.
	Ping time.Duration
	Log  *slog.Logger // default: none
}

// Client talks to one daemon. Safe for use by several goroutines; commands go one after another.
type Client struct {
	cfg   Config
	home  *home
	names atomic.Uint64   // of our sockets
	life  context.Context // until Close
	die   context.CancelFunc
	once  sync.Once
	end   error // of Close

	turn chan struct{} // holds one token: whose turn it is to send a command
	conn *net.UnixConn // guarded by turn; nil: none
	at   os.FileInfo   // guarded by turn; the daemon's socket file that conn is connected to

	watch watch
}

// Open makes a client; it does not talk to the daemon yet, which need not run.
func Open(cfg Config) (*Client, error) {
	if cfg.Socket == "" {
		return nil, errors.New("wpactrl: no control socket given")
	}
	if cfg.Timeout < 0 || cfg.Ping < 0 {
		return nil, fmt.Errorf("wpactrl: timeout %v, ping %v: expected more than 0", cfg.Timeout, cfg.Ping)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Ping == 0 {
		cfg.Ping = defaultPing
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir == "" {
		cfg.Dir = os.TempDir()
	}
	h, err := newHome(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, home: h, turn: make(chan struct{}, 1)}
	c.life, c.die = context.WithCancel(context.Background())
	c.turn <- struct{}{}
	c.watch.init(c)
	return c, nil
}

// Socket returns the path of the daemon's control socket.
func (c *Client) Socket() string { return c.cfg.Socket }

// Close ends commands under way and subscriptions, waits for them and removes our sockets.
func (c *Client) Close() error {
	c.once.Do(func() {
		c.die()
		<-c.turn
		c.drop()
		c.turn <- struct{}{}
		c.watch.close()
		c.end = c.home.remove()
	})
	return c.end
}

// Command sends a command and returns the answer without the newline at its end. Each word "?" stands for the next of
// secrets, sent in hexadecimal. Answers FAIL and UNKNOWN COMMAND are errors: all errors are *CommandError.
func (c *Client) Command(ctx context.Context, command string, secrets ...*keys.Secret) (string, error) {
	answer, err := c.command(ctx, command, secrets)
	if err != nil {
		e := &CommandError{Socket: c.cfg.Socket, Command: command, Err: err}
		if strings.HasPrefix(answer, "FAIL-") { // a FAIL that says more
			e.Answer = Printable(answer)
		}
		return "", e
	}
	return answer, nil
}

// Do is Command for commands that are answered by OK and nothing else.
func (c *Client) Do(ctx context.Context, command string, secrets ...*keys.Secret) error {
	answer, err := c.Command(ctx, command, secrets...)
	if err == nil && answer != "OK" {
		return &CommandError{Socket: c.cfg.Socket, Command: command, Answer: Printable(answer), Err: fmt.Errorf("%w: expected OK", ErrAnswer)}
	}
	return err
}

// Ping asks whether the daemon lives.
func (c *Client) Ping(ctx context.Context) error {
	answer, err := c.Command(ctx, "PING")
	if err == nil && answer != "PONG" {
		return &CommandError{Socket: c.cfg.Socket, Command: "PING", Answer: Printable(answer), Err: fmt.Errorf("%w: expected PONG", ErrAnswer)}
	}
	return err
}

func (c *Client) command(ctx context.Context, command string, secrets []*keys.Secret) (string, error) {
	line, err := fill(command, secrets)
	defer clear(line)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	select {
	case <-c.turn:
	case <-c.life.Done():
		return "", ErrClosed
	case <-ctx.Done():
		return "", cause(ctx, c.life, ctx.Err())
	}
	defer func() { c.turn <- struct{}{} }()
	if c.isClosed() {
		return "", ErrClosed
	}
	answer, err := c.exchange(ctx, line)
	if err != nil {
		return "", cause(ctx, c.life, err)
	}
	switch {
	case strings.HasPrefix(answer, "FAIL"):
		return answer, ErrFail
	case strings.HasPrefix(answer, "UNKNOWN COMMAND"):
		return answer, ErrUnknownCommand
	}
	return answer, nil
}

// exchange does one command on the connection, which it makes if there is none and ends on any error: an answer that comes
// late must not be taken for the next one's. The caller has the turn.
func (c *Client) exchange(ctx context.Context, line []byte) (answer string, err error) {
	if c.conn != nil && !c.same(c.at) {
		c.drop()
	}
	reused := c.conn != nil
	for {
		if c.conn == nil {
			if c.conn, c.at, err = c.dial(); err != nil {
				return "", err
			}
		}
		stop := interrupt(ctx, c.life, c.conn)
		_, err = c.conn.Write(line)
		if err == nil {
			answer, err = c.read(ctx)
		} else if reused && gone(err) && ctx.Err() == nil { // a daemon that was started anew; it has not seen the command
			stop()
			c.drop()
			reused = false
			continue
		}
		if !stop() && err == nil { // the answer was in time, but the connection has a deadline in the past
			err = c.conn.SetDeadline(time.Time{})
		}
		if err != nil {
			c.drop()
		}
		return answer, err
	}
}

// read returns the answer. The caller has the turn.
func (c *Client) read(ctx context.Context) (string, error) {
	buf := make([]byte, maxDatagram)
	for {
		// A daemon that dies after it took the command is not told by the socket: look now and then.
		_ = c.conn.SetReadDeadline(time.Now().Add(c.cfg.Ping)) // fails only when closed, as the read will
		if ctx.Err() != nil {                                  // and with it the deadline that interrupt has set
			return "", ctx.Err()
		}
		if c.isClosed() {
			return "", ErrClosed
		}
		n, err := c.conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil && !c.isClosed():
			if !c.same(c.at) {
				return "", fmt.Errorf("%w: it went away before it answered", ErrGone)
			}
		case err != nil:
			return "", err
		case n == len(buf):
			return "", fmt.Errorf("%w: of more than %d octets", ErrAnswer, n-1)
		default:
			return strings.TrimSuffix(string(buf[:n]), "\n"), nil
		}
	}
}

// dial makes a socket with a name of our own, connected to the daemon.
func (c *Client) dial() (*net.UnixConn, os.FileInfo, error) {
	at, err := os.Stat(c.cfg.Socket)
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join(c.home.dir, strconv.FormatUint(c.names.Add(1), 10))
	conn, err := net.DialUnix("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"}, &net.UnixAddr{Name: c.cfg.Socket, Net: "unixgram"})
	if err != nil {
		_ = os.Remove(name)
		return nil, nil, err
	}
	return conn, at, nil
}

// hangup ends a connection made by dial and removes its name.
func hangup(conn *net.UnixConn) {
	name := conn.LocalAddr().String()
	conn.Close()
	_ = os.Remove(name) // Close leaves it
}

// same says whether the daemon's socket file is still the one that was connected to.
func (c *Client) same(at os.FileInfo) bool {
	now, err := os.Stat(c.cfg.Socket)
	return err == nil && os.SameFile(at, now) && now.ModTime().Equal(at.ModTime())
}

// drop ends the connection for commands. The caller has the turn.
func (c *Client) drop() {
	if c.conn != nil {
		hangup(c.conn)
		c.conn, c.at = nil, nil
	}
}

func (c *Client) isClosed() bool { return c.life.Err() != nil }

// interrupt makes reads and writes on conn fail when ctx or life ends, until the function it returns is called; that says
// whether nothing of the kind happened, and waits for it.
func interrupt(ctx, life context.Context, conn net.Conn) (stop func() bool) {
	done := make(chan struct{}, 2)
	cut := func() {
		_ = conn.SetDeadline(time.Unix(1, 0)) // fails only when closed
		done <- struct{}{}
	}
	stops := [...]func() bool{context.AfterFunc(ctx, cut), context.AfterFunc(life, cut)}
	return func() bool {
		quiet := true
		for _, stop := range stops {
			if !stop() {
				<-done
				quiet = false
			}
		}
		return quiet
	}
}

// fill puts the secrets into the command, in a buffer the caller has to clear.
func fill(command string, secrets []*keys.Secret) ([]byte, error) {
	if command == "" || strings.ContainsAny(command, "\x00\n\r") {
		return nil, fmt.Errorf("a command of one line expected, got %q", command)
	}
	size := len(command)
	for _, s := range secrets {
		size += 2 * s.Len()
	}
	if size > maxCommand {
		return nil, fmt.Errorf("a command of %d octets: expected at most %d", size, maxCommand)
	}
	line := make([]byte, 0, size) // never grows: no copy of a key is left behind
	used := 0
	for i, word := range strings.Split(command, " ") {
		if i > 0 {
			line = append(line, ' ')
		}
		if word != "?" || len(secrets) == 0 {
			line = append(line, word...)
			continue
		}
		if used == len(secrets) || secrets[used].Len() == 0 {
			return line, fmt.Errorf("%d keys for the places of %q, or an empty one", len(secrets), command)
		}
		line = hex.AppendEncode(line, secrets[used].Bytes())
		used++
	}
	if used != len(secrets) {
		return line, fmt.Errorf("%d keys for %d places", len(secrets), used)
	}
	return line, nil
}

// Printable is s for errors and logs: what is not printable ASCII is left out, and all behind 200 octets.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s[:min(len(s), maxShown)])
}
