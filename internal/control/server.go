package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"openmpa/internal/event"
)

const (
	maxConns     = 64
	maxArgs      = 1 << 20
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	stopTimeout  = time.Second
	followBuffer = 1024
)

// Config says what a daemon offers on its socket.
type Config struct {
	Path     string             // of the socket
	Recorder *event.Recorder    // the timeline; nil: an empty one
	Log      *slog.Logger       // nil: discarded
	Status   func() any         // encoded as JSON; may be called by several goroutines at once; nil: {}
	Commands map[string]Command // by name; not changed after NewServer
}

// Server serves the socket of one daemon.
type Server struct {
	cfg Config
	l   net.Listener
	srv *http.Server
}

// NewServer binds the socket, so that a daemon knows before it is ready whether
// it is the only one. Either Run or Close must follow.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l, err := listen(cfg.Path)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, l: &limitListener{Listener: l, places: make(chan struct{}, maxConns)}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("GET /resources", s.resources)
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /handovers", s.handovers)
	mux.HandleFunc("GET /handovers/{id}", s.handover)
	mux.HandleFunc("POST /command/{name}", s.command)
	mux.HandleFunc("/", s.notFound)
	s.srv = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: readTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Close gives the socket up without serving it. After Run it does nothing.
func (s *Server) Close() error {
	err := s.l.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Run serves until ctx is done, then ends what is under way and removes the
// socket. A clean end is nil.
func (s *Server) Run(ctx context.Context) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	s.srv.BaseContext = func(net.Listener) context.Context { return base }
	failed := make(chan error, 1)
	go func() { failed <- s.srv.Serve(s.l) }()
	select {
	case err := <-failed:
		s.srv.Close()
		return fmt.Errorf("control: %w", err)
	case <-ctx.Done():
	}
	// base is done with ctx: commands and followers return by themselves.
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer stop()
	if err := s.srv.Shutdown(grace); err != nil {
		s.srv.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	var v any = struct{}{}
	if s.cfg.Status != nil {
		v = s.cfg.Status()
	}
	s.reply(w, http.StatusOK, v)
}

func (s *Server) handovers(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, http.StatusOK, Summarize(s.cfg.Recorder.Events(event.HandoverID{})))
}

func (s *Server) handover(w http.ResponseWriter, r *http.Request) {
	id, err := event.ParseHandoverID(r.PathValue("id"))
	if err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	var records []event.Event
	if !id.IsZero() {
		records = s.cfg.Recorder.Events(id)
	}
	if len(records) == 0 {
		s.fail(w, http.StatusNotFound, fmt.Errorf("no records of handover %s: it never was here, or it is too long ago", id))
		return
	}
	s.reply(w, http.StatusOK, HandoverDetail{Handover: Summarize(records)[0], Records: records})
}

func (s *Server) command(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	run, ok := s.cfg.Commands[name]
	if !ok {
		known := slices.Sorted(maps.Keys(s.cfg.Commands))
		s.fail(w, http.StatusNotFound, fmt.Errorf("unknown command %q: this daemon has %s", name, orNone(known)))
		return
	}
	args, err := readArgs(w, r)
	if err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	result, err := s.guard(r.Context(), name, run, args)
	if err != nil {
		s.fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	s.reply(w, http.StatusOK, result)
}

// guard keeps a bug in one command from taking the daemon down.
func (s *Server) guard(ctx context.Context, name string, run Command, args json.RawMessage) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("panic in a command", "command", name, "value", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("command %s failed by a bug: the daemon's log has the details", name)
		}
	}()
	return run(ctx, args)
}

func readArgs(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxArgs))
	if err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	// From here on a read only notices that the client went away.
	if err := rc.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, nil
	}
	if !json.Valid(body) {
		return nil, errors.New("the arguments are not JSON")
	}
	return body, nil
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.fail(w, http.StatusNotFound, fmt.Errorf("no %s %s here: expected GET /status, /resources, /events, /handovers, /handovers/ID or POST /command/NAME", r.Method, r.URL.Path))
}

func (s *Server) fail(w http.ResponseWriter, status int, err error) {
	s.reply(w, status, struct {
		Error string `json:"error"`
	}{err.Error()})
}

func (s *Server) reply(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.cfg.Log.Error("an answer on the control socket could not be encoded", "err", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded: the daemon's log has the details"}`)
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		s.cfg.Log.Debug("control: write deadline", "err", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		s.cfg.Log.Debug("control: the client went away", "err", err)
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// query is what GET /events is asked for.
type query struct {
	since    uint64
	follow   bool
	handover event.HandoverID
}

func parseQuery(r *http.Request) (q query, err error) {
	v := r.URL.Query()
	if s := v.Get("since"); s != "" {
		if q.since, err = strconv.ParseUint(s, 10, 64); err != nil {
			return query{}, fmt.Errorf("since=%q: expected a sequence number", s)
		}
	}
	if s := v.Get("handover"); s != "" {
		if q.handover, err = event.ParseHandoverID(s); err != nil {
			return query{}, err
		}
	}
	switch s := v.Get("follow"); s {
	case "", "0":
	case "1":
		q.follow = true
	default:
		return query{}, fmt.Errorf("follow=%q: expected 0 or 1", s)
	}
	return q, nil
}
