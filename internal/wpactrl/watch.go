package wpactrl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind says what an Event is.
type Kind uint8

// The kinds.
const (
	Message Kind = iota // the daemon's
	Back                // we hear the daemon from here on: it was there at the start, or is there again and knows nothing of before
	Gone                // the daemon went away, does not answer, or is not there at the start; Rest says what is known
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Back:
		return "back"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Level is the urgency of a message.
type Level uint8

// The levels, as the daemons number them.
const (
	LevelExcessive Level = iota
	LevelMessageDump
	LevelDebug
	LevelInfo
	LevelWarning
	LevelError
)

// Event is one thing the daemon says by itself, or that it went or came.
type Event struct {
	Kind   Kind
	At     time.Time // when it was read
	Missed int       // events somewhere before this one that were dropped because the subscriber did not read, Back and Gone included

	Level Level
	Name  string // first word: CTRL-EVENT-CONNECTED
	Rest  string // what is behind it
}

const (
	queueLen  = 256 // events a subscriber may leave lying; then the oldest are dropped
	maxEvents = 16  // subscribers
)

// Subscription delivers events on C, which is closed at Close and when the Client ends.
type Subscription struct {
	C <-chan Event

	w      *watch
	c      chan Event
	names  []string // of the messages wanted; nil: all
	missed int      // guarded by w.mu; to be told with the next event
	once   sync.Once
}

// Subscribe delivers the events from now on: first Back or Gone, whichever is so, as soon as it is known. A command that is
// sent behind Back has its events delivered. Of messages only those of the names given are; none given: all. To be woken for
// others costs time when there is none: a handshake makes half a dozen. Errors: ErrClosed, or that there are too many
// subscribers.
func (c *Client) Subscribe(names ...string) (*Subscription, error) { return c.watch.subscribe(names) }

// Close ends the subscription. It may be called again.
func (s *Subscription) Close() { s.once.Do(func() { s.w.unsubscribe(s) }) }

// watch is the half of a Client that hears events: one goroutine, from the first subscription to the Client's end.
type watch struct {
	client *Client
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	ended   bool
	started bool
	state   Kind // Back, Gone, or Message: not known yet
	why     string
	subs    map[*Subscription]struct{}
}

func (w *watch) init(c *Client) {
	w.client = c
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.subs = make(map[*Subscription]struct{})
}

func (w *watch) subscribe(names []string) (*Subscription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil, &CommandError{Socket: w.client.cfg.Socket, Command: "ATTACH", Err: ErrClosed}
	}
	if len(w.subs) == maxEvents {
		return nil, &CommandError{Socket: w.client.cfg.Socket, Command: "ATTACH", Err: fmt.Errorf("there are %d subscribers already", maxEvents)}
	}
	ch := make(chan Event, queueLen)
	s := &Subscription{C: ch, c: ch, w: w, names: names}
	w.subs[s] = struct{}{}
	if !w.started {
		w.started = true
		w.wg.Go(w.run)
	}
	if w.state != Message {
		s.put(Event{Kind: w.state, At: time.Now(), Rest: w.why})
	}
	return s, nil
}

func (w *watch) unsubscribe(s *Subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.subs[s]; ok {
		delete(w.subs, s)
		close(s.c)
	}
}

func (w *watch) close() {
	w.cancel()
	w.wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for s := range w.subs {
		delete(w.subs, s)
		close(s.c)
	}
}

// wants says whether the subscriber asked for an event.
func (s *Subscription) wants(e Event) bool {
	return e.Kind != Message || len(s.names) == 0 || slices.Contains(s.names, e.Name)
}

// put queues an event for one subscriber, dropping the oldest. The caller holds mu; the subscriber is the only reader.
func (s *Subscription) put(e Event) {
	for {
		e.Missed = s.missed
		select {
		case s.c <- e:
			s.missed = 0
			return
		default:
		}
		select {
		case old := <-s.c:
			s.missed += old.Missed + 1
		default:
		}
	}
}

// publish tells all subscribers; Back and Gone only when they are news.
func (w *watch) publish(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Kind != Message {
		if e.Kind == Gone && w.state == Gone {
			return
		}
		w.state, w.why = e.Kind, e.Rest
	}
	for s := range w.subs {
		if s.wants(e) {
			s.put(e)
		}
	}
}

// run finds the daemon, listens, and finds it again, until the client ends.
func (w *watch) run() {
	log := w.client.cfg.Log.With("socket", w.client.cfg.Socket)
	for w.ctx.Err() == nil {
		conn, at, err := w.client.dial()
		if err == nil {
			err = w.serve(conn, at)
			hangup(conn)
		}
		if w.ctx.Err() != nil {
			return
		}
		log.Debug("control socket lost", "error", err)
		w.publish(Event{Kind: Gone, At: time.Now(), Rest: cause(context.Background(), w.client.life, err).Error()})
		select {
		case <-w.ctx.Done():
		case <-time.After(w.client.cfg.Ping):
		}
	}
}

// errSilent: the daemon does not answer PING.
var errSilent = errors.New("the daemon does not answer: is it stuck?")

// serve attaches and hands events on until the daemon is gone. It returns why, never nil.
func (w *watch) serve(conn *net.UnixConn, at os.FileInfo) error {
	stop := context.AfterFunc(w.ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }) // fails only when closed
	defer stop()
	write := func(s string) error { // a daemon that hangs lets the queue fill up
		_ = conn.SetWriteDeadline(time.Now().Add(w.client.cfg.Timeout)) // fails only when closed, as the write will
		_, err := conn.Write([]byte(s))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errSilent
		}
		return err
	}
	if err := write("ATTACH"); err != nil {
		return err
	}
	var (
		attached bool
		asked    = time.Now() // when ATTACH or the last PING without an answer left; zero: nothing is asked
		buf      = make([]byte, maxDatagram)
	)
	defer func() { _ = write("DETACH") }() // a daemon that lives on should not keep us on its list
	for {
		if err := conn.SetReadDeadline(time.Now().Add(w.client.cfg.Ping)); err != nil {
			return err
		}
		if w.ctx.Err() != nil { // and with it the deadline set above
			return w.ctx.Err()
		}
		n, err := conn.Read(buf)
		now := time.Now()
		switch text := strings.TrimSuffix(string(buf[:n]), "\n"); {
		case w.ctx.Err() != nil:
			return w.ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded): // below
		case err != nil:
			return err
		case n == len(buf):
			return fmt.Errorf("%w: an event of more than %d octets", ErrAnswer, n-1)
		case strings.HasPrefix(text, "<"):
			if e, ok := parseEvent(text); ok {
				e.At = now
				w.publish(e)
			}
		case !attached && text == "OK":
			attached, asked = true, time.Time{}
			w.publish(Event{Kind: Back, At: now})
		case !attached:
			return fmt.Errorf("%w to ATTACH: %q", ErrAnswer, Printable(text))
		default: // PONG
			asked = time.Time{}
		}
		switch {
		case !asked.IsZero() && now.Sub(asked) > w.client.cfg.Timeout:
			return errSilent
		case err == nil:
		case !w.client.same(at):
			return fmt.Errorf("%w: its socket was removed or replaced", ErrGone)
		default: // while one is not answered, too: the write tells of a daemon that was killed
			if err := write("PING"); err != nil {
				return err
			}
			if asked.IsZero() {
				asked = now
			}
		}
	}
}

// parseEvent reads "<3>NAME rest".
func parseEvent(s string) (Event, bool) {
	if len(s) < 4 || s[0] != '<' || s[2] != '>' || s[1] < '0' || s[1] > '5' {
		return Event{}, false
	}
	name, rest, _ := strings.Cut(s[3:], " ")
	return Event{Level: Level(s[1] - '0'), Name: name, Rest: rest}, name != ""
}
