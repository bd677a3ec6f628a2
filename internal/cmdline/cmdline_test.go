package cmdline

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"openmpa/internal/manpage"
)

type grammar struct {
	Config string `short:"c" placeholder:"FILE" help:"Where it's read."`
	Run    struct {
		Mode  string `enum:"slow,fast" default:"slow" help:"How."`
		Count int    `help:"How often."`
		Quick bool   `negatable:"" help:"At once."`
		Debug bool   `hidden:"" help:"Not shown."`
		What  string `arg:"" help:"What to run."`
	} `cmd:"" help:"Run it."`
	Say struct {
		Word string `arg:"" enum:"yes,no" help:"The word."`
	} `cmd:"" help:"Say it."`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	k, err := kong.New(&grammar{}, kong.Name("a-b"))
	if err != nil {
		t.Fatal(err)
	}
	return k.Model
}

func script(t *testing.T, shell string) string {
	t.Helper()
	var b strings.Builder
	if err := Complete(&b, shell, model(t), map[string][]string{"run": {"one", "two"}}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestBash asks a real bash.
func TestBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	text := script(t, "bash")
	for typed, want := range map[string]string{
		"":               "run say --help --config",
		"r":              "run",
		"run ":           "--mode --count --quick --no-quick --help --config one two",
		"run t":          "two",
		"run --m":        "--mode",
		"run --mode ":    "slow fast",
		"run --mode f":   "fast",
		"run --count ":   "",
		"-c /etc/passw":  "/etc/passwd",
		"say n":          "no",
		"run say":        "", // not the command, but its argument
		"--config x say": "say",
	} {
		words := append([]string{"a-b"}, strings.Split(typed, " ")...)
		cmd := exec.Command(bash, "--norc", "-c", text+"\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(($#-1)); _a_b; echo \"${COMPREPLY[*]}\"", "bash")
		cmd.Args = append(cmd.Args, words...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", typed, err, out)
		}
		if got := strings.TrimSpace(string(out)); got != want && !(typed == "-c /etc/passw" && strings.HasPrefix(got, want)) {
			t.Errorf("after %q: got %q, expected %q", typed, got, want)
		}
	}
}

func TestOtherShells(t *testing.T) {
	zsh := script(t, "zsh")
	for _, want := range []string{"#compdef a-b", "--mode) compadd -- slow fast; return", "--config|-c) _files; return", "run) compadd -- --mode --count", "compdef _a_b a-b"} {
		if !strings.Contains(zsh, want) {
			t.Errorf("zsh: %q is missing in\n%s", want, zsh)
		}
	}
	fish := script(t, "fish")
	for _, want := range []string{
		`complete -c a-b -l config -r -F -d 'Where it\'s read.'`,
		"complete -c a-b -n '__fish_seen_subcommand_from run' -l mode -x -a 'slow fast' -d 'How.'",
		"-l no-quick -d 'At once.'", "__fish_seen_subcommand_from run' -a 'one two'", "__fish_seen_subcommand_from say' -a 'yes no'",
	} {
		if !strings.Contains(fish, want) {
			t.Errorf("fish: %q is missing in\n%s", want, fish)
		}
	}
	for _, text := range []string{zsh, fish, script(t, "bash")} {
		if strings.Contains(text, "debug") {
			t.Error("a hidden flag is shown")
		}
	}
	if err := Complete(&strings.Builder{}, "tcsh", model(t), nil); err == nil || !strings.Contains(err.Error(), "bash, zsh, fish") {
		t.Errorf("an unknown shell: %v", err)
	}
}

func TestManual(t *testing.T) {
	page := Manual(model(t), manpage.Page{Name: "a-b", Section: 1, Sections: []manpage.Section{{Title: "Description", Text: "first"}}},
		manpage.Section{Title: "Files", Text: "last"})
	roff := page.Roff()
	at := -1
	for _, want := range []string{".SH DESCRIPTION", ".SH COMMANDS", "run <what> [flags]", "WHAT ", `\-\-quick, \-\-no\-quick`, ".SH FLAGS", `\-\-config`, ".SH FILES"} {
		next := strings.Index(roff, want)
		if next < 0 || next < at {
			t.Errorf("%q is not there, or not in its place", want)
		}
		at = max(at, next)
	}
}
