package daemon

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// DefaultConfig is where a daemon looks for its configuration when --config does
// not say: /etc/openmpa/mn.yaml for mpa-mn, and ap-agent.yaml for mpa-ar ap-agent.
func DefaultConfig(name string) string {
	words := strings.Fields(name)
	return "/etc/openmpa/" + strings.TrimPrefix(words[len(words)-1], "mpa-") + ".yaml"
}

func (o *options) register(fs *flag.FlagSet, spec Spec, service bool) {
	fs.StringVar(&o.config, "config", DefaultConfig(spec.Name), "read the configuration from `FILE`")
	fs.StringVar(&o.level, "log-level", "info", "log records of this `LEVEL` and above: debug, info, warn, error")
	fs.StringVar(&o.format, "log-format", "text", "write the log, to standard error, as `FORMAT`: text, json")
	fs.BoolVar(&o.help, "help", false, "explain the program and leave")
	fs.BoolVar(&o.help, "h", false, "the same as --help")
	if !service {
		return
	}
	if spec.Check != nil {
		fs.BoolVar(&o.check, "check", false, "check the configuration, print \"ok\" or every mistake, and leave")
	}
	if spec.Example != "" {
		fs.BoolVar(&o.showExample, "example", false, "print an example configuration and leave")
	}
	fs.BoolVar(&o.version, "version", false, "print the version and leave")
	fs.BoolVar(&o.man, "man", false, "write the manual page, in roff, and leave")
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is no level: expected debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		if os.Getenv("JOURNAL_STREAM") != "" { // the journal has its own time stamps
			opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) == 0 && a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}
		}
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is no format: expected text or json", format)
}

// Version is the line that --version prints for the program of that name: the
// module's version, the commit when it is known, the Go release and platform.
func Version(name string) string {
	return fmt.Sprintf("%s %s %s %s/%s", name, version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	var commit, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if len(commit) >= 12 && !strings.Contains(v, commit[:12]) {
		v += " " + commit[:12] + modified
	}
	return v
}
