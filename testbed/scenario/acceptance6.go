package scenario

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/traffic"
	"openmpa/testbed/wireshark"
)

// checks6 are those of IPv6; scenario runs one by its name, with other options.
func checks6(opt Options, scenario func(name string, change func(*Options)) func(context.Context, *Progress) ([]string, error)) []check {
	return []check{
		{"IPv6, handover three times, addresses formed: nothing lost, duplicated or reordered, and tshark finds nothing wrong in what is said", beside, func(ctx context.Context, p *Progress) ([]string, error) {
			return wellSaid(ctx, six(opt, "", 3), p)
		}},
		{"IPv6, addresses of DHCPv6: the same", beside, func(ctx context.Context, p *Progress) ([]string, error) {
			return wellSaid(ctx, six(opt, bed.DHCPEmbedded, 2), p)
		}},
		{"IPv6, addresses of DHCPv6 from Kea, with FreeRADIUS: the same", beside, func(ctx context.Context, p *Progress) ([]string, error) {
			o := six(opt, bed.DHCPKea, 2)
			o.AAA = bed.AAAFreeRADIUS
			return wellSaid(ctx, o, p)
		}},
		{"IPv6, access links that only authenticated nodes may use, 100 Mbit/s, a link gone for 50 ms", alone, scenario("handover", func(o *Options) {
			*o = six(*o, "", 2)
			o.Enforce, o.Gap = true, 50*time.Millisecond
			o.Rate, _ = traffic.ParseRate("100M")
		})},
		{"IPv6, every marker lost once: nothing else lost, duplicated or reordered", beside, scenario("handover", func(o *Options) {
			*o = six(*o, "", 1)
			o.LoseMarkers = true
		})},
		{"IPv6, failed switch, dead and refused: back, and traffic goes on", beside, scenario("failed-switch", func(o *Options) { *o = six(*o, "", 2) })},
		{"IPv6, bound to several care-of addresses in a move: nothing lost or duplicated, copies no longer than that", beside, scenario("multi-bind", func(o *Options) {
			adjustMultiBind(o, func(string) bool { return false })
			o.Repeat = 2
		})},
		{"IPv4, bound to several care-of addresses by the S bit: the same", beside, scenario("multi-bind", func(o *Options) {
			adjustMultiBind(o, func(f string) bool { return f == "ip" })
			o.Repeat = 2
		})},
		{"IPv6, addresses that a stranger has or takes, or the kernel answers for", beside, scenario("conflict", func(o *Options) {
			*o = six(*o, "", 1)
			o.Lead = 500 * time.Millisecond
		})},
		{"IPv4, addresses that a stranger has or takes", beside, scenario("conflict", func(o *Options) { o.Repeat, o.Lead = 1, 500*time.Millisecond })},
		{"RFC 6252's Figure 6 by Mobile IPv6, with and without route optimisation", alone, scenario("figure6", func(o *Options) {
			o.Probe = false
			adjustFigure6Six(o, func(f string) bool { return f == "repeat" })
		})},
	}
}

// six are the options of a lab with IPv6, in which dhcp gives addresses; empty: nodes form them.
func six(o Options, dhcp string, repeat int) Options {
	o.IP, o.DHCP, o.Repeat = 6, cmp.Or(dhcp, o.DHCP), repeat
	if dhcp != "" {
		o.Addresses = bed.AddressesDHCP
	}
	return o
}

// Of what is said in a lab with IPv6: each of these at least once.
const (
	saidBinding = "mipv6"
	saidProbe   = "icmpv6.type == 135 && ipv6.src == ::"
	saidHere    = "icmpv6.type == 136"
	saidRouter  = "icmpv6.type == 134"
	saidDHCP    = "dhcpv6"
)

// wellSaid is the scenario handover, of which Wireshark looks at what nodes have said to one another.
func wellSaid(ctx context.Context, o Options, p *Progress) ([]string, error) {
	wanted := []string{saidBinding, saidProbe, saidHere, saidRouter}
	if o.Addresses == bed.AddressesDHCP {
		wanted = append(wanted, saidDHCP)
	}
	return overheard(ctx, "handover", o, p, wanted...)
}

// overheard is a scenario of which Wireshark looks at what was captured, in which something that matches each filter is wanted.
func overheard(ctx context.Context, name string, o Options, p *Progress, wanted ...string) ([]string, error) {
	dir, err := os.MkdirTemp("", "openmpa-said-")
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	defer os.RemoveAll(dir)
	o.Capture = filepath.Join(dir, "said.pcap")
	problems, err := problemsOf(ctx, name, o, p)
	if err != nil {
		return problems, err
	}
	said, err := wireshark.Look(ctx, o.Capture, wanted...)
	for _, w := range wanted {
		if said.Matching[w] == 0 {
			problems = append(problems, fmt.Sprintf("nobody has said %q", w))
		}
	}
	for _, line := range said.Wrong {
		problems = append(problems, "tshark finds wrong: "+line)
	}
	return problems, err
}
