package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"openmpa/internal/control"
)

// askTimeout bounds a question that a daemon answers from memory.
const askTimeout = 5 * time.Second

// clients returns a client for every --socket, or else for every socket found.
// given says which it was.
func (a *app) clients() (list []*control.Client, given bool, err error) {
	paths := a.cli.Socket
	given = len(paths) > 0
	if !given {
		if paths, err = filepath.Glob(filepath.Join(a.cli.RunDir, "*.sock")); err != nil {
			return nil, false, fmt.Errorf("%s: %w", a.cli.RunDir, err)
		}
		slices.Sort(paths)
	}
	if len(paths) == 0 {
		return nil, false, fmt.Errorf("no control socket in %s: is a daemon running? Name its socket by --socket PATH", a.cli.RunDir)
	}
	for _, p := range paths {
		list = append(list, control.NewClient(p))
	}
	return list, given, nil
}

// each asks every daemon. One that was found but is gone is left out; an error
// comes back when no daemon answered, or one that was named did not.
func (a *app) each(ask func(ctx context.Context, c *control.Client) error) error {
	list, given, err := a.clients()
	if err != nil {
		return err
	}
	answered := 0
	for _, c := range list {
		ctx, cancel := context.WithTimeout(a.ctx, askTimeout)
		err := ask(ctx, c)
		cancel()
		switch {
		case err == nil:
			answered++
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%s: the daemon did not answer within %v", c.Path(), askTimeout)
		case !given && errors.Is(err, control.ErrNoDaemon):
		default:
			return err
		}
	}
	if answered == 0 {
		return fmt.Errorf("no daemon answers on the sockets in %s: is one running?", a.cli.RunDir)
	}
	return nil
}

// mobileNode picks the socket of the mobile node: the only one, else mn.sock.
func (a *app) mobileNode() (*control.Client, error) {
	list, _, err := a.clients()
	if err != nil {
		return nil, err
	}
	if len(list) == 1 {
		return list[0], nil
	}
	var names []string
	for _, c := range list {
		if filepath.Base(c.Path()) == "mn.sock" {
			return c, nil
		}
		names = append(names, c.Path())
	}
	return nil, fmt.Errorf("several daemons are here, and none is mn.sock: say by --socket which is the mobile node (%s)", strings.Join(names, ", "))
}

// nameOf is what a daemon is called in the output: its socket's name.
func nameOf(c *control.Client) string {
	return strings.TrimSuffix(filepath.Base(c.Path()), ".sock")
}
