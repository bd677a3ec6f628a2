package link

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// conversation is a connection to a link controller, on which one request goes after another.
type conversation struct {
	socket string
	most   int           // octets of a line, newline included
	turn   chan struct{} // holds one token: whose turn it is to talk
	conn   net.Conn      // guarded by turn; nil: none
	r      *bufio.Reader // of conn
}

func newConversation(socket string, most int) *conversation {
	c := &conversation{socket: socket, most: most, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// end ends the connection once whoever has the turn is done.
func (c *conversation) end() {
	<-c.turn
	c.drop()
	c.turn <- struct{}{}
}

// drop ends the connection. The caller has the turn.
func (c *conversation) drop() {
	if c.conn != nil {
		c.conn.Close()
		c.conn, c.r = nil, nil
	}
}

// connect makes the connection, if there is none. The caller has the turn.
func (c *conversation) connect(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return err
	}
	c.conn, c.r = conn, bufio.NewReaderSize(conn, c.most)
	return nil
}

// ready makes the connection, if there is none and nobody talks, unless closed is.
func (c *conversation) ready(ctx context.Context, closed <-chan struct{}) error {
	select {
	case <-c.turn:
	default:
		return nil
	}
	defer func() { c.turn <- struct{}{} }()
	select {
	case <-closed:
		return net.ErrClosed
	default:
		return c.connect(ctx)
	}
}

// exchange does one request on the connection, which it makes if there is none and ends on any error but a refusal.
func (c *conversation) exchange(ctx context.Context, req request) (answer, error) {
	if err := c.connect(ctx); err != nil {
		return answer{}, err
	}
	conn := c.conn
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = conn.SetDeadline(time.Unix(1, 0)) // fails only when closed
	})
	a, err := c.converse(req)
	var refused *RefusedError
	broken := err != nil && !errors.As(err, &refused)
	if !stop() {
		<-woken
		if !broken { // the answer was in time, but the connection has a deadline in the past
			broken = conn.SetDeadline(time.Time{}) != nil
		}
	}
	if broken {
		c.drop()
	}
	return a, err
}

func (c *conversation) converse(req request) (answer, error) {
	if c.r.Buffered() > 0 {
		return answer{}, fmt.Errorf("%w: it sent something without being asked", ErrProtocol)
	}
	line, err := json.Marshal(req)
	if err != nil {
		return answer{}, err
	}
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			return answer{}, fmt.Errorf("%w: %w", errLost, err)
		}
		return answer{}, err
	}
	line, err = c.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return answer{}, fmt.Errorf("%w: a line of more than %d octets", ErrProtocol, c.most)
	case err != nil && len(line) > 0 && errors.Is(err, io.EOF):
		return answer{}, fmt.Errorf("%w: the connection ended within a line", ErrProtocol)
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		return answer{}, fmt.Errorf("%w: %w", errLost, err)
	case err != nil:
		return answer{}, err
	}
	return parseAnswer(req, line)
}
