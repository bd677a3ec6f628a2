package wireshark

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Packets are how many packets a capture has that match each of some display filters, and Wrong is what Wireshark's dissectors
// find wrong in any: malformed, or an error of the protocol, a line each.
type Packets struct {
	Matching map[string]int
	Wrong    []string
}

// Look dissects a capture by tshark. It is an error when tshark is missing.
func Look(ctx context.Context, capture string, filters ...string) (p Packets, err error) {
	p.Matching = make(map[string]int)
	for _, f := range filters {
		lines, err := dissect(ctx, capture, f, "frame.number")
		if err != nil {
			return p, err
		}
		p.Matching[f] = len(lines)
	}
	p.Wrong, err = dissect(ctx, capture, `_ws.malformed || _ws.expert.severity == "Error"`, "frame.number", "ipv6.src", "ipv6.dst", "_ws.col.protocol", "_ws.col.info", "_ws.expert.message")
	return p, err
}

// dissect is fields of the packets that match a filter, a line each.
func dissect(ctx context.Context, capture, filter string, fields ...string) ([]string, error) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		return nil, fmt.Errorf("wireshark: tshark is missing: apt-get install --no-install-recommends tshark: %w", err)
	}
	settings, err := os.MkdirTemp("", "wireshark")
	if err != nil {
		return nil, fmt.Errorf("wireshark: %w", err)
	}
	defer os.RemoveAll(settings)
	args := []string{"-n", "-r", capture, "-Y", filter, "-T", "fields", "-E", "separator= ", "-E", "occurrence=f"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "HOME="+settings) // nobody's
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("wireshark: tshark %s: %w: %s", capture, err, strings.TrimSpace(errs.String()))
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines, nil
}
