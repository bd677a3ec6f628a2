package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/daemon"
)

// userFile is the file of users that a command works on.
type userFile struct{ path string }

func (u *userFile) flags(fs *flag.FlagSet) {
	fs.StringVar(&u.path, "users", "", "`file` of users; left out: that of the configuration")
}

// file is its name.
func (u *userFile) file(env daemon.Env) (string, error) {
	if u.path != "" {
		return u.path, nil
	}
	c, err := config.Load[configuration](env.ConfigPath)
	switch {
	case err != nil:
		return "", fmt.Errorf("no --users, and no configuration that says where they are: %w", err)
	case c.Users == "":
		return "", fmt.Errorf("no --users, and %s names no file of users", env.ConfigPath)
	}
	return c.Users.String(), nil
}

// userAdd is the command that adds a user.
type userAdd struct {
	userFile
	name, methods, session             string
	onlyPAP, without, blocked, replace bool

	input *os.File // nil: standard input
}

func (u *userAdd) flags(fs *flag.FlagSet) {
	u.userFile.flags(fs)
	fs.StringVar(&u.name, "name", "", "`identity` of the user, such as mn@home.example")
	fs.StringVar(&u.methods, "methods", "", "`list` of the methods it may use, of tls, ttls and peap; left out: all")
	fs.StringVar(&u.session, "session", "", "`duration` of its sessions, such as 30m; left out: as of everybody")
	fs.BoolVar(&u.onlyPAP, "only-pap", false, "keep the password so that it is hard to find out: of use to EAP-TTLS with PAP only")
	fs.BoolVar(&u.without, "no-password", false, "no password: a certificate only")
	fs.BoolVar(&u.blocked, "blocked", false, "refuse it whatever it shows, a certificate too")
	fs.BoolVar(&u.replace, "replace", false, "change the user of that name")
}

func (u *userAdd) run(_ context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("user add: unexpected argument %q: a password is read from standard input", args[0])
	}
	if u.name == "" {
		return errors.New("user add: expected --name")
	}
	path, err := u.file(env)
	if err != nil {
		return fmt.Errorf("user add: %w", err)
	}
	one := server.User{Name: u.name, Session: u.session, Blocked: u.blocked}
	if u.methods != "" {
		one.Methods = strings.FieldsFunc(u.methods, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if u.onlyPAP && len(one.Methods) == 0 {
		one.Methods = []string{"ttls"}
	}
	if !u.without && !u.blocked {
		in := u.input
		if in == nil {
			in = os.Stdin
		}
		password, err := readPassword(in, os.Stderr)
		if err != nil {
			return fmt.Errorf("user add: %w", err)
		}
		if one.Password, err = server.HashPassword(password, u.onlyPAP); err != nil {
			return fmt.Errorf("user add: %w", err)
		}
	}
	return server.AddUser(path, one, u.replace)
}

// readPassword reads a line: from a terminal twice, and nobody sees it.
func readPassword(in *os.File, prompt io.Writer) (string, error) {
	fd := int(in.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return readLine(bufio.NewReader(in))
	}
	quiet := *before
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	defer func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }() // it was a terminal a moment ago
	lines := bufio.NewReader(in)
	var said [2]string
	for i, text := range []string{"Password: ", "The same again: "} {
		fmt.Fprint(prompt, text)
		said[i], err = readLine(lines)
		fmt.Fprintln(prompt)
		if err != nil {
			return "", err
		}
	}
	if said[0] != said[1] {
		return "", errors.New("the two are not the same")
	}
	return said[0], nil
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", fmt.Errorf("expected a password on standard input: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// userList is the command that lists users, without anything of their passwords.
type userList struct{ userFile }

func (u *userList) run(_ context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("user list: unexpected argument %q", args[0])
	}
	path, err := u.file(env)
	if err != nil {
		return fmt.Errorf("user list: %w", err)
	}
	list, err := server.ListUsers(path)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b server.User) int { return strings.Compare(a.Name, b.Name) })
	w := tabwriter.NewWriter(env.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tPASSWORD\tMETHODS\tSESSION\t")
	for _, one := range list {
		methods, session := "all", "as of all"
		switch {
		case one.Blocked:
			methods = "blocked"
		case len(one.Methods) > 0:
			methods = strings.Join(one.Methods, ",")
		}
		if one.Session != "" {
			session = one.Session
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", one.Name, one.Password, methods, session)
	}
	return w.Flush()
}

// userRemove is the command that removes a user.
type userRemove struct {
	userFile
	name string
}

func (u *userRemove) flags(fs *flag.FlagSet) {
	u.userFile.flags(fs)
	fs.StringVar(&u.name, "name", "", "`identity` of the user")
}

func (u *userRemove) run(_ context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 || u.name == "" {
		return errors.New("user remove: expected --name, and nothing else")
	}
	path, err := u.file(env)
	if err != nil {
		return fmt.Errorf("user remove: %w", err)
	}
	return server.RemoveUser(path, u.name)
}
