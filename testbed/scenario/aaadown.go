package scenario

import (
	"context"
	"errors"
	"fmt"

	"openmpa/testbed/bed"
	"openmpa/testbed/report"
)

// revive notes what became of the authentication server that was to be killed in a handover, and
// starts it again.
func (r *run) revive(ctx context.Context, b *bed.Bed, m *measured) error {
	d := b.DisarmAAADown()
	m.AAADown = &report.AAADown{Killed: d.Server, Messages: d.Turns}
	if d.Server == "" {
		return d.Err
	}
	return errors.Join(d.Err, b.Restart(ctx, d.Server))
}

// expectDown checks that a server was killed where one was to be.
func (r *run) expectDown(name string, m measured) {
	if n := r.opt.AAADown; n > 0 && m.AAADown.Killed == "" {
		r.problem("%s: no authentication server was killed at message %d: there were only %s", name, n, counted(m.AAADown.Messages))
	}
}

func counted(messages map[string]int) string {
	text := ""
	for server, n := range messages {
		text += fmt.Sprintf("%d to %s, ", n, server)
	}
	if text == "" {
		return "none"
	}
	return text[:len(text)-2]
}
