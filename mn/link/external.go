package link

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
)

const (
	maxLine        = 4096 // octets of a line, newline included
	maxText        = 256  // octets of a controller's error text kept
	defaultTimeout = 5 * time.Second
)

// ExternalConfig says where the controller is.
type ExternalConfig struct {
	Socket    string        // path of the controller's Unix stream socket
	Timeout   time.Duration // for one request and its answer; default 5 s. ctx may end it earlier
	Interface string        // interface to watch
	Net       host.Tables   // to watch it; nil: Watch fails
}

// RefusedError is a controller's {"ok":false}.
type RefusedError struct {
	Op, Point string
	Text      string // the controller's, printable, at most maxText octets
}

// Error implements error.
func (e *RefusedError) Error() string {
	s := "link: the link controller refused " + e.Op
	if e.Point != "" {
		s += " " + e.Point
	}
	if e.Text == "" {
		return s + " without giving a reason"
	}
	return fmt.Sprintf("%s: it says %q", s, e.Text)
}

// ErrProtocol is wrapped when the controller's answer is not what package link's comment describes.
var ErrProtocol = errors.New("the link controller does not keep to the protocol")

// errLost marks a connection that ended before an answer began: the controller was restarted, and may be asked once more.
var errLost = errors.New("connection lost before the answer")

// External talks to a link controller. Safe for use by several goroutines; requests go one after another. The connection is
// made at the first request, and anew after it broke.
type External struct {
	cfg ExternalConfig

	turn chan struct{} // holds one token: whose turn it is to talk
	conn net.Conn      // guarded by turn; nil: none
	r    *bufio.Reader // of conn

	once   sync.Once
	closed chan struct{}
}

var _ Adapter = (*External)(nil)

// NewExternal makes an adapter; it does not connect yet.
func NewExternal(cfg ExternalConfig) (*External, error) {
	if cfg.Socket == "" {
		return nil, errors.New("link: no socket of a link controller given")
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("link: timeout %v: expected more than 0", cfg.Timeout)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	e := &External{cfg: cfg, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	e.turn <- struct{}{}
	return e, nil
}

// Close ends the connection, and a request under way. Watches end with their contexts.
func (e *External) Close() error {
	e.once.Do(func() { close(e.closed) })
	<-e.turn
	e.drop()
	e.turn <- struct{}{}
	return nil
}

type request struct {
	Op    string `json:"op"`
	Point string `json:"point,omitempty"`
}

type answer struct {
	OK    *bool   `json:"ok"`
	Point *string `json:"point"`
	Error *string `json:"error"`
}

// Current implements Adapter.
func (e *External) Current(ctx context.Context) (string, error) {
	a, err := e.ask(ctx, request{Op: "status"})
	if err != nil {
		return "", err
	}
	if a.Point == nil {
		return "", nil
	}
	return *a.Point, nil
}

// Attach implements Adapter.
func (e *External) Attach(ctx context.Context, poa string) error {
	if err := CheckPoint(poa); err != nil {
		return err
	}
	_, err := e.ask(ctx, request{Op: "attach", Point: poa})
	return err
}

// Watch implements Adapter by the kernel's carrier reports.
func (e *External) Watch(ctx context.Context) (<-chan osnet.LinkState, error) {
	if e.cfg.Net == nil || e.cfg.Interface == "" {
		return nil, errors.New("link: watch: no interface given")
	}
	ch, err := e.cfg.Net.WatchLink(ctx, e.cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return ch, nil
}

// ask sends one request and waits for its answer. A connection that was open from before may be a dead one: then, and only if
// nothing of an answer came, the request is made once more over a new one.
func (e *External) ask(ctx context.Context, req request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // Close ends a request too
		select {
		case <-e.closed:
			cancel()
		case <-stop:
		}
	}()
	select {
	case <-e.turn:
	case <-ctx.Done():
		return answer{}, e.explain(ctx, req, ctx.Err())
	}
	defer func() { e.turn <- struct{}{} }()
	select {
	case <-e.closed:
		return answer{}, e.explain(ctx, req, net.ErrClosed)
	default:
	}

	reused := e.conn != nil
	a, err := e.exchange(ctx, req)
	if reused && errors.Is(err, errLost) && ctx.Err() == nil {
		a, err = e.exchange(ctx, req)
	}
	if err != nil {
		return answer{}, e.explain(ctx, req, err)
	}
	return a, nil
}

// exchange does one request on the connection, which it makes if there is none and ends on any error but a refusal.
func (e *External) exchange(ctx context.Context, req request) (answer, error) {
	if e.conn == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", e.cfg.Socket)
		if err != nil {
			return answer{}, err
		}
		e.conn, e.r = conn, bufio.NewReaderSize(conn, maxLine)
	}
	conn := e.conn
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = conn.SetDeadline(time.Unix(1, 0)) // fails only when closed
	})
	a, err := e.converse(req)
	if !stop() {
		<-woken
		if err == nil { // the answer was in time, but the connection has a deadline in the past
			err = conn.SetDeadline(time.Time{})
		}
	}
	var refused *RefusedError
	if err != nil && !errors.As(err, &refused) {
		e.drop()
	}
	return a, err
}

func (e *External) converse(req request) (answer, error) {
	if e.r.Buffered() > 0 {
		return answer{}, fmt.Errorf("%w: it sent something without being asked", ErrProtocol)
	}
	line, err := json.Marshal(req)
	if err != nil {
		return answer{}, err
	}
	if _, err := e.conn.Write(append(line, '\n')); err != nil {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			return answer{}, fmt.Errorf("%w: %w", errLost, err)
		}
		return answer{}, err
	}
	line, err = e.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return answer{}, fmt.Errorf("%w: a line of more than %d octets", ErrProtocol, maxLine)
	case err != nil && len(line) > 0 && errors.Is(err, io.EOF):
		return answer{}, fmt.Errorf("%w: the connection ended within a line", ErrProtocol)
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		return answer{}, fmt.Errorf("%w: %w", errLost, err)
	case err != nil:
		return answer{}, err
	}
	return parseAnswer(req, line)
}

// parseAnswer reads the answer to req strictly.
func parseAnswer(req request, line []byte) (answer, error) {
	var a answer
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return answer{}, fmt.Errorf("%w: expected {\"ok\":...}, came %.120q: %w", ErrProtocol, line, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return answer{}, fmt.Errorf("%w: more than one object in the line %.120q", ErrProtocol, line)
	}
	switch {
	case a.OK == nil:
		return answer{}, fmt.Errorf("%w: no \"ok\" in %.120q", ErrProtocol, line)
	case !*a.OK:
		refused := &RefusedError{Op: req.Op, Point: req.Point}
		if a.Error != nil {
			refused.Text = printable(*a.Error)
		}
		return answer{}, refused
	case a.Error != nil:
		return answer{}, fmt.Errorf("%w: \"ok\" and \"error\" at once in %.120q", ErrProtocol, line)
	case a.Point != nil && *a.Point != "":
		if err := CheckPoint(*a.Point); err != nil {
			return answer{}, fmt.Errorf("%w: %.120q is no point of attachment", ErrProtocol, *a.Point)
		}
		if req.Op == "attach" && *a.Point != req.Point {
			return answer{}, fmt.Errorf("%w: asked to attach to %s it answers %s", ErrProtocol, req.Point, *a.Point)
		}
	}
	return a, nil
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s[:min(len(s), maxText)])
}

// drop ends the connection. The caller has the turn.
func (e *External) drop() {
	if e.conn != nil {
		e.conn.Close()
		e.conn, e.r = nil, nil
	}
}

// explain says what was tried, what happened and what to do.
func (e *External) explain(ctx context.Context, req request, err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused
	}
	what := req.Op
	if req.Point != "" {
		what += " " + req.Point
	}
	select {
	case <-e.closed:
		return fmt.Errorf("link: %s: %w", what, net.ErrClosed)
	default:
	}
	switch {
	case ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("link: %s: no answer from the link controller on %s in time: is it stuck? %w", what, e.cfg.Socket, ctx.Err())
		}
		return fmt.Errorf("link: %s: %w", what, ctx.Err())
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("link: %s: no link controller listens on %s: start it, or correct link.socket: %w", what, e.cfg.Socket, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("link: %s: the link controller's socket %s does not let us in: %w", what, e.cfg.Socket, err)
	}
	return fmt.Errorf("link: %s over %s: %w", what, e.cfg.Socket, err)
}
