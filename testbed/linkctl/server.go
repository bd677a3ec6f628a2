package linkctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"openmpa/testbed/field"
)

// maxLine bounds a request; an order is well below.
const maxLine = 4096

// maxSeen bounds an answer.
const maxSeen = 256

type request struct {
	Op    string `json:"op"`
	Point string `json:"point"`
}

type response struct {
	OK     bool     `json:"ok"`
	Point  *string  `json:"point,omitempty"`
	Signal *float64 `json:"signal_dbm,omitempty"`
	Loss   *float64 `json:"loss,omitempty"`
	Rate   *float64 `json:"rate_mbps,omitempty"`
	Seen   []seen   `json:"seen,omitempty"`
	Error  string   `json:"error,omitempty"`
}

type seen struct {
	Point  string  `json:"point"`
	Signal float64 `json:"signal_dbm"`
	Age    float64 `json:"age_ms"`
}

// A Server takes orders for a controller on a Unix socket.
type Server struct {
	c      *Controller
	ln     net.Listener
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu; nil after Close
}

// Serve listens on path, which must not exist, with mode 0600.
func Serve(c *Controller, path string) (*Server, error) {
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("linkctl: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("linkctl: %w", err)
	}
	s := &Server{c: c, ln: ln, conns: make(map[net.Conn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// Close stops listening, drops every connection and removes the socket.
func (s *Server) Close() error {
	s.cancel()
	err := s.ln.Close()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, for one: give others time to close theirs.
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		s.mu.Lock()
		if s.conns == nil {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.wg.Add(1)
		s.mu.Unlock()
		go s.serve(conn)
	}
}

func (s *Server) serve(conn net.Conn) {
	defer s.wg.Done()
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 0, 512), maxLine)
	out := json.NewEncoder(conn)
	for in.Scan() {
		if err := out.Encode(s.answer(in.Bytes())); err != nil {
			return
		}
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		// The connection is dropped either way; the answer is a courtesy.
		_ = out.Encode(response{Error: fmt.Sprintf("a request has at most %d octets", maxLine)})
	}
}

func (s *Server) answer(line []byte) response {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return response{Error: "expected one JSON object a line: " + err.Error()}
	}
	switch r.Op {
	case "status":
		p := s.c.Point()
		return response{OK: true, Point: &p}
	case "attach":
		if _, err := s.c.Attach(s.ctx, r.Point); err != nil {
			return response{Error: err.Error()}
		}
		return response{OK: true}
	case "signal", "seen":
		return s.c.sense(r.Op)
	default:
		return response{Error: fmt.Sprintf(`unknown op %q: "status", "attach", "signal" and "seen" are known`, r.Op)}
	}
}

// sense answers what is asked about signals.
func (c *Controller) sense(op string) response {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.air == nil {
		return response{Error: "there is no field of signals here"}
	}
	heard, at := c.air.heard()
	if op == "signal" {
		point := c.point
		out := response{OK: true, Point: &point}
		if dBm, ok := field.Of(heard, point); ok {
			loss, rate := field.Loss(dBm), field.Rate(dBm)
			out.Signal, out.Loss, out.Rate = &dBm, &loss, &rate
		}
		return out
	}
	out := response{OK: true}
	var age time.Duration
	if c.air.Sweep > 0 {
		age = at % c.air.Sweep
		heard = c.air.Field.At(at - age)
	}
	for _, h := range heard {
		if h.Point != c.point && len(out.Seen) < maxSeen {
			out.Seen = append(out.Seen, seen{h.Point, h.DBm, float64(age) / float64(time.Millisecond)})
		}
	}
	return out
}
