package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"openmpa/internal/config"
	"openmpa/internal/osnet"
)

// Level says how bad a finding is.
type Level int

// The levels.
const (
	OK   Level = iota
	Warn       // it works now; it may not always
	Fail       // it cannot work like this
)

// String implements fmt.Stringer.
func (l Level) String() string {
	switch l {
	case OK:
		return "ok"
	case Warn:
		return "warning"
	case Fail:
		return "FAULT"
	}
	return fmt.Sprintf("Level(%d)", int(l))
}

// MarshalText implements encoding.TextMarshaler, for JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(strings.ToLower(l.String())), nil }

// Finding is the result of one check.
type Finding struct {
	Program string `json:"program"` // that it matters to, such as mpa-ar
	Check   string `json:"check"`   // a word: what was looked at
	Level   Level  `json:"level"`
	Text    string `json:"text"`
	Remedy  string `json:"remedy,omitempty"` // what to do; empty when it is well
}

// Options say where to look. The zero value of each field takes the default.
type Options struct {
	Config string        // folder of the configurations; default /etc/openmpa
	Root   string        // folder in which /run is looked for; default /
	Wait   time.Duration // for an answer over the network; default 3 s
	// Validate says what is wrong with the configuration file of a program; default: runs it with --check.
	Validate func(ctx context.Context, program, file string) error
	Now      func() time.Time // default time.Now
}

func (o Options) withDefaults() Options {
	config.Default(&o.Config, "/etc/openmpa")
	config.Default(&o.Root, "/")
	config.Default(&o.Wait, 3*time.Second)
	if o.Validate == nil {
		o.Validate = validate
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// ErrNothing says that there is nothing to examine.
var ErrNothing = errors.New("doctor: no configuration of a daemon here")

// daemons lists the programs with the names of their configurations.
var daemons = []struct {
	program string
	file    string
	examine func(*patient)
}{
	{"mpa-aaa", "aaa.yaml", (*patient).aaa},
	{"mpa-ha", "ha.yaml", (*patient).ha},
	{"mpa-ar", "ar.yaml", (*patient).ar},
	{"mpa-mn", "mn.yaml", (*patient).mn},
}

// patient is one daemon under examination.
type patient struct {
	Options
	ctx      context.Context
	net      *osnet.Net
	program  string
	c        settings
	findings []Finding
}

// Examine looks at every daemon that has a configuration here. Needs root.
func Examine(ctx context.Context, o Options) ([]Finding, error) {
	o = o.withDefaults()
	n, err := osnet.OpenReader()
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	defer n.Close()
	var out []Finding
	found := false
	for _, d := range daemons {
		file := filepath.Join(o.Config, d.file)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found = true
		p := &patient{Options: o, ctx: ctx, net: n, program: d.program}
		if p.configuration(file) {
			d.examine(p)
		}
		out = append(out, p.findings...)
		if ctx.Err() != nil {
			return out, fmt.Errorf("doctor: %w", ctx.Err())
		}
	}
	if !found {
		return nil, fmt.Errorf("%w: expected one of aaa.yaml, ha.yaml, ar.yaml, mn.yaml in %s", ErrNothing, o.Config)
	}
	return out, nil
}

// configuration reads it; what its daemon refuses is not worth a closer look.
func (p *patient) configuration(file string) bool {
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	err := p.Validate(ctx, p.program, file)
	if err == nil {
		p.c, err = config.Peek[settings](file)
	}
	if err != nil {
		p.fail("configuration", err.Error(), "correct "+file+"; "+p.program+" --example shows a complete one")
		return false
	}
	p.ok("configuration", file+" is right")
	return true
}

// validate runs the program that is beside this one, else the one on PATH.
func validate(ctx context.Context, program, file string) error {
	path := program
	if self, err := os.Executable(); err == nil {
		for _, dir := range []string{filepath.Dir(self), filepath.Join(filepath.Dir(self), "../sbin")} {
			if candidate := filepath.Join(dir, program); executable(candidate) {
				path = candidate
				break
			}
		}
	}
	out, err := exec.CommandContext(ctx, path, "--check", "--config", file).CombinedOutput()
	if text := strings.TrimSpace(string(out)); err != nil && text != "" {
		return errors.New(text)
	}
	if err != nil {
		return fmt.Errorf("%s --check: %w", program, err)
	}
	return nil
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

func (p *patient) add(l Level, check, text, remedy string) {
	p.findings = append(p.findings, Finding{Program: p.program, Check: check, Level: l, Text: text, Remedy: remedy})
}

func (p *patient) ok(check, text string)           { p.add(OK, check, text, "") }
func (p *patient) warn(check, text, remedy string) { p.add(Warn, check, text, remedy) }
func (p *patient) fail(check, text, remedy string) { p.add(Fail, check, text, remedy) }
