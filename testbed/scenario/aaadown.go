package scenario

import (
	"context"
	"errors"
	"fmt"

	"openmpa/aaa"
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

// serversBack waits until each router has found every authentication server alive, as killed ones that were started again.
func (r *run) serversBack(ctx context.Context, b *bed.Bed, name string) error {
	var missing string
	for _, router := range routersOf(b) {
		var last error
		err := await(ctx, backLimit, func() bool {
			var status struct {
				AAA struct {
					Servers []aaa.ServerStatus `json:"servers"`
				} `json:"aaa"`
			}
			if last = b.Client(router).Status(ctx, &status); last != nil {
				return true
			}
			missing = ""
			for _, s := range status.AAA.Servers {
				if !s.Alive {
					missing = s.Server + ": " + s.Why
				}
			}
			return missing == ""
		})
		if last != nil || ctx.Err() != nil {
			return errors.Join(last, ctx.Err())
		}
		if err != nil {
			r.problem("%s: router %s does not find its servers alive again %v: %s", name, router, err, missing)
		}
	}
	return nil
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
