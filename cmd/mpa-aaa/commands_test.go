package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/paa/keys"
)

// input is a file with that content, as standard input.
func input(t *testing.T, text string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestUserCommands adds, lists, changes and removes, in the file that the configuration
// names and in another one.
func TestUserCommands(t *testing.T) {
	env, dir := setup(t)
	for _, path := range []string{"", filepath.Join(dir, "others")} {
		out := &bytes.Buffer{}
		env.Stdout = out
		file := userFile{path: path}
		steps := []struct {
			add   userAdd
			input string
			fails string
		}{
			{userAdd{name: "b@home.example"}, "secret word\n", ""},
			{userAdd{name: "a@home.example", onlyPAP: true, session: "30m"}, "another\r\n", ""},
			{userAdd{name: "c@home.example", methods: "tls", without: true}, "", ""},
			{userAdd{name: "a@home.example"}, "x\n", "--replace"},
			{userAdd{name: "c@home.example", blocked: true, replace: true}, "", ""},
			{userAdd{name: "d@home.example"}, "", "expected a password"},
			{userAdd{name: "d@home.example"}, "\n", "1 to 256"},
			{userAdd{name: "d@home.example", methods: "md5"}, "x\n", "md5"},
			{userAdd{}, "x\n", "expected --name"},
		}
		for _, s := range steps {
			s.add.userFile, s.add.input = file, input(t, s.input)
			err := s.add.run(t.Context(), env, nil)
			if (err == nil) != (s.fails == "") || err != nil && !strings.Contains(err.Error(), s.fails) {
				t.Errorf("%+v: %v", s.add, err)
			}
		}
		if err := (&userAdd{userFile: file, name: "x@home.example"}).run(t.Context(), env, []string{"password"}); err == nil || strings.Contains(err.Error(), "x@") {
			t.Errorf("a password as an argument: %v", err)
		}
		list := userList{file}
		if err := list.run(t.Context(), env, nil); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(strings.Fields(out.String()), " ")
		if want := "NAME PASSWORD METHODS SESSION a@home.example pbkdf2 ttls 30m b@home.example nt all as of all c@home.example none blocked as of all"; got != want {
			t.Errorf("%s, expected %s", got, want)
		}
		remove := userRemove{userFile: file, name: "b@home.example"}
		if err := remove.run(t.Context(), env, nil); err != nil {
			t.Error(err)
		}
		if err := remove.run(t.Context(), env, nil); err == nil {
			t.Error("removed twice")
		}
	}
	env.ConfigPath = filepath.Join(dir, "nowhere")
	if err := (&userList{}).run(t.Context(), env, nil); err == nil || !strings.Contains(err.Error(), "--users") {
		t.Errorf("no file is named: %v", err)
	}
}

// TestFlags has every command's flags make sense together.
func TestFlags(t *testing.T) {
	for _, flags := range []func(*flag.FlagSet){
		(&issue{}).flags, (&userAdd{}).flags, (&userList{}).flags, (&userRemove{}).flags, (&sessionsCommand{}).flags,
		(&orderCommand{kind: server.OrderEnd}).flags, (&orderCommand{kind: server.OrderAgain}).flags,
	} {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		if flags(fs); fs.Parse([]string{"--nonsense"}) == nil {
			t.Error("accepted")
		}
	}
	o := orderCommand{kind: server.OrderExtend}
	fs := flag.NewFlagSet("extend", flag.ContinueOnError)
	if o.flags(fs); fs.Parse([]string{"--for", "2h", "--session", "s"}) != nil || o.Life.D() != 2*time.Hour || o.Session != "s" {
		t.Errorf("%+v", o)
	}
}

// TestOrders lists a session that a router has reported, and has it ended: the router
// hears so by RADIUS.
func TestOrders(t *testing.T) {
	env, dir := setup(t)
	text, err := os.ReadFile(env.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load[configuration](env.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	books, orders := freePort(t), freePort(t)
	changed := strings.NewReplacer("accounting: none", "accounting: "+books.String(), "10.0.0.0/8", "127.0.0.0/8", "0.0.0.0:3799", orders.String()).Replace(string(text))
	if err := os.WriteFile(env.ConfigPath, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	env.Ready = func() { close(ready) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- run(ctx, env) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	router, err := radius.NewClient(radius.Config{
		NASIdentifier: "ar", Orders: orders,
		Servers: []radius.Server{{Addr: c.RADIUS.Listen, Accounting: books, Secret: keys.NewSecret([]byte("testing123"))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	carrier := aaa.NewRADIUSCarrier(router)
	heard := &ordersHeard{make(chan aaa.Match, 8)}
	go func() { done <- carrier.Run(ctx, heard) }()
	g := aaa.Grant{Session: "s1", Identity: "mn@home.example", Station: "10.1.0.100"}
	if err := carrier.Account(ctx, aaa.Record{Grant: g, Kind: aaa.RecordStart, Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	out := &bytes.Buffer{}
	cmd := daemon.Env{ConfigPath: env.ConfigPath, Stdout: out}
	if err := (&sessionsCommand{}).run(ctx, cmd, nil); err != nil || !strings.Contains(out.String(), "mn@home.example  radius:127.0.0.1  10.1.0.100") {
		t.Errorf("%v\n%s", err, out)
	}
	out.Reset()
	var list []server.Session
	if err := (&sessionsCommand{json: true}).run(ctx, cmd, nil); err != nil || json.Unmarshal(out.Bytes(), &list) != nil || len(list) != 1 || list[0].Session != "s1" {
		t.Errorf("%v\n%s", err, out)
	}
	for _, o := range []struct {
		orderCommand
		says, fails string
	}{
		{orderCommand{kind: server.OrderEnd, orderArgs: orderArgs{Identity: "mn@home.example"}}, "mn@home.example at radius:127.0.0.1: done\n", ""},
		{orderCommand{kind: server.OrderEnd, orderArgs: orderArgs{Session: "nobody's"}}, "", "no session matches"},
		{orderCommand{kind: server.OrderAgain}, "", "whoever names nobody"},
		{orderCommand{kind: server.OrderExtend, orderArgs: orderArgs{Session: "s1"}}, "", "expected life"},
	} {
		out.Reset()
		err := o.run(ctx, cmd, nil)
		if (err == nil) != (o.fails == "") || err != nil && !strings.Contains(err.Error(), o.fails) || out.String() != o.says {
			t.Errorf("%v %+v: %v, %q", o.kind, o.orderArgs, err, out)
		}
	}
	if len(heard.ended) != 1 {
		t.Fatalf("the router has heard %d orders", len(heard.ended))
	}
	if m := <-heard.ended; m.Session != "s1" {
		t.Errorf("the router has heard %+v", m)
	}
	if err := control.NewClient(filepath.Join(dir, "aaa.sock")).Command(ctx, "end", map[string]string{"who": "x"}, nil); err == nil {
		t.Error("an argument that is not known is taken")
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

type ordersHeard struct{ ended chan aaa.Match }

func (o *ordersHeard) End(m aaa.Match, _ string) int     { o.ended <- m; return 1 }
func (*ordersHeard) Again(aaa.Match) int                 { return 0 }
func (*ordersHeard) Extend(aaa.Match, time.Duration) int { return 0 }

// freePort is one of the loopback interface, most likely.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	conn := listenLoopback(t)
	defer conn.Close()
	return conn.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort()
}
