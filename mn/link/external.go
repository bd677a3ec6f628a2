package link

import (
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
	maxLine        = 4096        // octets of a line, newline included
	maxSeenLine    = 8 * maxLine // of the answer to "seen"
	maxText        = 256         // octets of a controller's error text kept
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

// External talks to a link controller. Safe for use by several goroutines; requests go one after another, but no move waits
// for a question about the signal: those have a connection of their own. Each is made at the first request, and anew after it
// broke.
type External struct {
	cfg ExternalConfig

	orders *conversation // status and attach
	senses *conversation // signal and seen

	mu      sync.Mutex
	senseOf map[string]sense // guarded by mu; by op

	once   sync.Once
	closed chan struct{}
}

var (
	_ Adapter = (*External)(nil)
	_ Meter   = (*External)(nil)
)

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
	return &External{
		cfg: cfg, closed: make(chan struct{}), senseOf: make(map[string]sense),
		orders: newConversation(cfg.Socket, maxLine), senses: newConversation(cfg.Socket, maxSeenLine),
	}, nil
}

// Close ends the connections, and requests under way. Watches end with their contexts.
func (e *External) Close() error {
	e.once.Do(func() { close(e.closed) })
	e.orders.end()
	e.senses.end()
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
	// Of a signal.
	Signal *float32 `json:"signal_dbm"`
	Loss   *float32 `json:"loss"`
	Rate   *float32 `json:"rate_mbps"`
	// Of what is seen.
	Seen []seenPoint `json:"seen"`
}

// The ops.
const (
	opStatus = "status"
	opAttach = "attach"
	opSignal = "signal"
	opSeen   = "seen"
)

// Current implements Adapter.
func (e *External) Current(ctx context.Context) (string, error) {
	a, err := e.ask(ctx, e.orders, e.cfg.Timeout, request{Op: opStatus})
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
	_, err := e.ask(ctx, e.orders, e.cfg.Timeout, request{Op: opAttach, Point: poa})
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
func (e *External) ask(ctx context.Context, c *conversation, within time.Duration, req request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
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
	case <-c.turn:
	case <-ctx.Done():
		return answer{}, e.explain(ctx, req, ctx.Err())
	}
	defer func() { c.turn <- struct{}{} }()
	select {
	case <-e.closed:
		return answer{}, e.explain(ctx, req, net.ErrClosed)
	default:
	}

	reused := c.conn != nil
	a, err := c.exchange(ctx, req)
	if reused && errors.Is(err, errLost) && ctx.Err() == nil {
		a, err = c.exchange(ctx, req)
	}
	if err != nil {
		return answer{}, e.explain(ctx, req, err)
	}
	return a, nil
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
		if req.Op == opAttach && *a.Point != req.Point {
			return answer{}, fmt.Errorf("%w: asked to attach to %s it answers %s", ErrProtocol, req.Point, *a.Point)
		}
	}
	return a, a.checkSenses(req.Op)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s[:min(len(s), maxText)])
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
	case absent(err):
		return fmt.Errorf("link: %s: no link controller listens on %s: start it, or correct link.socket: %w", what, e.cfg.Socket, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("link: %s: the link controller's socket %s does not let us in: %w", what, e.cfg.Socket, err)
	}
	return fmt.Errorf("link: %s over %s: %w", what, e.cfg.Socket, err)
}

// absent says whether nobody listens.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}
