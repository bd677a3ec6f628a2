package control

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"openmpa/internal/event"
)

// events writes the timeline, one record a line.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r)
	if err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := lineWriter{w: w, rc: http.NewResponseController(w), handover: q.handover}
	if !q.follow {
		past, _, cancel := s.cfg.Recorder.Subscribe(q.since, 1)
		cancel()
		for _, e := range past {
			if out.write(e) != nil {
				return
			}
		}
		return
	}
	last := q.since
	for !s.follow(r.Context(), &out, &last) {
	}
}

// follow serves one subscription from record last+1 on. It returns false when
// records may have been missed: the next subscription takes them from the ring.
func (s *Server) follow(ctx context.Context, out *lineWriter, last *uint64) (done bool) {
	past, ch, cancel := s.cfg.Recorder.Subscribe(*last, followBuffer)
	defer cancel()
	for _, e := range past {
		if out.write(e) != nil {
			return true
		}
		*last = e.Seq
	}
	// The client learns by the flush that it hears everything from here on.
	if out.flush() != nil {
		return true
	}
	full := false           // the channel was: records may have been missed after its last one
	first := len(past) == 0 // nothing to compare with: since may be of the daemon's last life
	for {
		select {
		case <-ctx.Done():
			return true
		case e, ok := <-ch:
			if !ok {
				return true
			}
			if e.Seq != *last+1 && !first {
				return false
			}
			first = false
			full = full || len(ch) >= cap(ch)-1
			if out.write(e) != nil {
				return true
			}
			*last = e.Seq
			if len(ch) > 0 {
				continue
			}
			if full {
				return false
			}
			if out.flush() != nil {
				return true
			}
		}
	}
}

type lineWriter struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	handover event.HandoverID
}

func (l *lineWriter) write(e event.Event) error {
	if !l.handover.IsZero() && e.Handover != l.handover {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := l.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err = l.w.Write(append(line, '\n'))
	return err
}

func (l *lineWriter) flush() error {
	if err := l.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return l.rc.Flush()
}
