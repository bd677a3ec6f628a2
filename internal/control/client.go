package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"openmpa/internal/event"
)

const (
	maxAnswer   = 64 << 20 // a full ring of events
	maxLine     = 1 << 20
	dialTimeout = 5 * time.Second
)

// Client talks to a daemon's socket. It may be used by several goroutines at once.
type Client struct {
	path string
	http *http.Client
}

// NewClient makes a client for the socket at path; nothing is dialled yet. The
// contexts given to its methods bound how long they take.
func NewClient(path string) *Client {
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // no idle connections: a Client needs no Close
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Path returns the socket's path.
func (c *Client) Path() string { return c.path }

// Status reads what the daemon says of itself into a pointer.
func (c *Client) Status(ctx context.Context, into any) error {
	return c.call(ctx, http.MethodGet, "/status", nil, into)
}

// Handovers lists the handovers the daemon has records of, the newest last.
func (c *Client) Handovers(ctx context.Context) ([]Handover, error) {
	var out []Handover
	err := c.call(ctx, http.MethodGet, "/handovers", nil, &out)
	return out, err
}

// Handover returns one handover with its records. An [*Error] of status 404 says
// that the daemon has none.
func (c *Client) Handover(ctx context.Context, id event.HandoverID) (HandoverDetail, error) {
	var out HandoverDetail
	err := c.call(ctx, http.MethodGet, "/handovers/"+id.String(), nil, &out)
	return out, err
}

// Command runs a daemon's command. args may be nil, and into too when the result
// does not matter. The command's context ends with ctx.
func (c *Client) Command(ctx context.Context, name string, args, into any) error {
	var body []byte
	if args != nil {
		var err error
		if body, err = json.Marshal(args); err != nil {
			return fmt.Errorf("control: arguments of %s: %w", name, err)
		}
	}
	return c.call(ctx, http.MethodPost, "/command/"+url.PathEscape(name), body, into)
}

// Events hands the records above the sequence number since to handle, in order,
// until handle returns an error, which Events returns. Without follow it returns
// nil after the last record; with follow only when ctx is done or the daemon
// ends ([io.ErrUnexpectedEOF]).
func (c *Client) Events(ctx context.Context, since uint64, follow bool, handle func(event.Event) error) error {
	return c.events(ctx, query{since: since, follow: follow}, nil, handle)
}

// Follow is Events with follow that calls started once the daemon has begun to
// answer: whatever is recorded after that is handed to handle.
func (c *Client) Follow(ctx context.Context, since uint64, started func(), handle func(event.Event) error) error {
	return c.events(ctx, query{since: since, follow: true}, started, handle)
}

// FollowHandover is Events with follow for the records of one handover, those
// that are there already first.
func (c *Client) FollowHandover(ctx context.Context, id event.HandoverID, handle func(event.Event) error) error {
	return c.events(ctx, query{follow: true, handover: id}, nil, handle)
}

func (c *Client) events(ctx context.Context, what query, started func(), handle func(event.Event) error) error {
	follow := what.follow
	q := url.Values{"since": {strconv.FormatUint(what.since, 10)}}
	if follow {
		q.Set("follow", "1")
	}
	if !what.handover.IsZero() {
		q.Set("handover", what.handover.String())
	}
	resp, err := c.do(ctx, http.MethodGet, "/events?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if started != nil {
		started()
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("control: %s: a record of the timeline: %w", c.path, err)
		}
		if err := handle(e); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("control: %s: %w", c.path, err)
	case follow:
		return fmt.Errorf("control: %s: the daemon ended: %w", c.path, io.ErrUnexpectedEOF)
	}
	return nil
}

// call does one exchange and decodes the answer.
func (c *Client) call(ctx context.Context, method, path string, body []byte, into any) error {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("control: %s: %w", c.path, err)
	case len(text) > maxAnswer:
		return fmt.Errorf("control: %s: the answer is larger than %d bytes", c.path, maxAnswer)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("control: %s: the answer: %w", c.path, err)
	}
	return nil
}

// do sends a request and turns every answer but 200 into an error.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("control: %s: %w", c.path, ErrNoDaemon)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("control: %s: not allowed to open it: run as root, or as the daemon's user", c.path)
	default:
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		if strings.Contains(err.Error(), "malformed HTTP") { // net/http has no type for it
			return nil, fmt.Errorf("control: %s: %w", c.path, ErrNoDaemon)
		}
		return nil, fmt.Errorf("control: %s: %w", c.path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	var failure struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &failure) != nil || failure.Error == "" {
		failure.Error = "the daemon answered " + resp.Status
	}
	return nil, &Error{Status: resp.StatusCode, Message: failure.Error}
}
