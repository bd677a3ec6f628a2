package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"openmpa/testbed/bed"
	"openmpa/testbed/bench"
	"openmpa/testbed/impair"
	"openmpa/testbed/picture"
	"openmpa/testbed/report"
	"openmpa/testbed/scenario"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// flags are those of everything that runs handovers.
type flags struct {
	L2Gap time.Duration `name:"l2-gap" default:"4ms" placeholder:"4ms" help:"How long the node has no link in a move. 4 ms is what RFC 6252 measured."`
	Rate  string        `default:"50" placeholder:"50" help:"Traffic: packets a second (\"50\", of 172 octets each as in speech) or bits a second (\"100M\", in packets of 1400 octets)."`
	DAD   string        `name:"dad" enum:"fast,rfc5227" default:"fast" help:"Timers of duplicate address detection: fast, or those of the standard, which take 4 to 8 s."`
	Logs  string        `type:"path" placeholder:"DIR" help:"Keep the daemons' logs and configurations in DIR."`
	aaa
	TLS  string `name:"tls" enum:"both,1.2,1.3" default:"both" help:"Which version of TLS it speaks: 1.2, 1.3, or both, and the node gets the higher."`
	DHCP string `name:"dhcp" enum:"embedded,kea" default:"embedded" help:"The DHCP server: embedded (the lab's own) or kea."`
	family
	Link    []string      `name:"link" placeholder:"NAME=delay:40ms,loss:1%" sep:"none" help:"Make a link of the lab bad, both ways, or one way: 'core-a>=...' away from the core, 'core-a<=...' towards it (in quotes). Of delay, jitter, loss, dup, reorder, rate, queue, seed. Repeatable; \"topology\" shows the names."`
	RTTAAA  time.Duration `name:"rtt-aaa" placeholder:"0ms" help:"Round trip time to the authentication server at home: half of it as delay on core-aaa each way."`
	Lose    string        `enum:"nothing,markers" default:"nothing" help:"markers: in each handover, each marker is lost once, in each direction."`
	NAT     bool          `name:"nat" help:"Put an address translator on each access router, between the node and the router it moves to."`
	Enforce bool          `help:"Have the routers let pass only what authenticated nodes send, and what is for the correspondent, for the bare host."`
	PAA     string        `name:"paa" enum:"configured,dhcp,invites" default:"configured" help:"Who tells the node of the PAA where it attaches first: its configuration, the DHCP server (option 136), or with --enforce the PAA itself, which begins the session."`
	Seconds float64       `default:"1" placeholder:"1" help:"How long traffic runs before and after each move."`
}

func (f flags) options(a *app) (scenario.Options, error) {
	o := scenario.Options{
		Bin: a.bin, Commit: commit(a.self), Repeat: 1, Gap: f.L2Gap, DAD: f.DAD, Probe: true, Logs: f.Logs,
		Lead: time.Duration(f.Seconds * float64(time.Second)), DHCP: f.DHCP, Agent: f.PAA,
	}
	if err := f.aaa.into(&o); err != nil {
		return o, err
	}
	if f.TLS != "both" {
		o.TLS = f.TLS
	}
	if f.L2Gap < 0 || f.L2Gap > time.Minute {
		return o, fmt.Errorf("--l2-gap %v: expected up to one minute", f.L2Gap)
	}
	// Written so that NaN does not pass.
	if !(f.Seconds >= 0.1 && f.Seconds <= 600) {
		return o, fmt.Errorf("--seconds %g: expected 0.1 to 600", f.Seconds)
	}
	if err := f.family.into(&o, f.DHCP); err != nil {
		return o, err
	}
	var err error
	if o.Links, err = f.links(); err != nil {
		return o, err
	}
	o.LoseMarkers, o.NAT, o.Enforce = f.Lose == "markers", f.NAT, f.Enforce
	if o.Rate, err = traffic.ParseRate(f.Rate); o.IP == 6 {
		o.Rate = o.Rate.WithIPv6()
	}
	return o, err
}

// links are the bad links that were asked for.
func (f flags) links() (map[string]impair.Both, error) {
	links, err := impair.Parse(f.Link)
	if err != nil {
		return nil, fmt.Errorf("--link: %w", err)
	}
	names := append(topo.Standard().LinkNames(), f.aaa.links()...)
	for name := range links {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("--link: there is no link %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	if f.RTTAAA != 0 {
		aaa := links[topo.LinkAAA]
		if aaa.In.Delay != 0 || aaa.Out.Delay != 0 {
			return nil, fmt.Errorf("--rtt-aaa: --link %s gives a delay, too", topo.LinkAAA)
		}
		if f.RTTAAA < 0 || f.RTTAAA > 10*time.Second {
			return nil, fmt.Errorf("--rtt-aaa %v: expected up to ten seconds", f.RTTAAA)
		}
		aaa.In.Delay, aaa.Out.Delay = f.RTTAAA/2, f.RTTAAA/2
		links[topo.LinkAAA] = aaa
	}
	return links, nil
}

// record is the options as they were taken, for the results.
func (f flags) record(s scenario.Scenario, o scenario.Options) map[string]string {
	m := map[string]string{
		"repeat": strconv.Itoa(o.Repeat), "l2-gap": o.Gap.String(), "rate": o.Rate.Flag(), "direction": "auto", "buffer": "on",
		"dad": o.DAD, "seconds": strconv.FormatFloat(o.Lead.Seconds(), 'g', -1, 64), "probe": strconv.FormatBool(o.Probe),
		"tls": f.TLS, "dhcp": f.DHCP, "lose": f.Lose, "nat": strconv.FormatBool(f.NAT), "paa": f.PAA,
	}
	if f.Enforce {
		m["enforce"] = "true"
	}
	f.family.record(m, o)
	f.aaa.record(m)
	if len(f.Link) > 0 {
		m["link"] = strings.Join(f.Link, " ")
	}
	if f.RTTAAA > 0 {
		m["rtt-aaa"] = f.RTTAAA.String()
	}
	if o.Wifi {
		m["access"] = scenario.AccessWifi
		delete(m, "l2-gap")
	}
	if o.ProbeRate > 0 && o.Probe {
		m["probe-rate"] = strconv.FormatFloat(o.ProbeRate, 'g', -1, 64)
	}
	if o.Direction != scenario.Default {
		m["direction"] = string(o.Direction)
	}
	if o.BufferOff {
		m["buffer"] = "off"
	}
	for _, fixed := range s.Fixes {
		delete(m, fixed)
	}
	return m
}

type demoCmd struct {
	Pictures string `type:"path" placeholder:"DIR" help:"Draw both handovers into DIR: comparison.svg and comparison.png."`
	flags
}

func (c *demoCmd) Run(a *app) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	if err := a.ready(); err != nil {
		return err
	}
	o.Tracks = c.Pictures != ""
	hs, problems, err := scenario.Demo(a.ctx, o, progress(), os.Stdout)
	if err == nil && c.Pictures != "" {
		var p picture.Picture
		if p, err = picture.Comparison("comparison", picture.Move{Title: "With MPA", Handover: hs[0]}, picture.Move{Title: "Without MPA", Handover: hs[1]}); err == nil {
			err = writePictures(c.Pictures, []picture.Picture{p})
		}
	}
	return verdict(problems, err)
}

type runCmd struct {
	Scenario  string  `arg:"" help:"Name of the scenario; \"list\" shows them."`
	JSON      string  `name:"json" placeholder:"FILE" help:"Write the results as one JSON object to FILE, or to standard output for \"-\"."`
	Repeat    int     `default:"1" placeholder:"1" help:"How often. Each handover starts without session, lease or tunnel at its target."`
	Direction string  `enum:"down,up,both,auto" default:"auto" help:"Which way traffic goes at --rate, the other way has 50 packets/s: down (to the node), up, both, auto (down for bit rates, else both)."`
	Buffer    string  `enum:"on,off" default:"on" help:"off: routers hold nothing while the node moves; its own queue stays."`
	Pictures  string  `type:"path" placeholder:"DIR" help:"Draw the results into DIR, as SVG and PNG: packets and phases of a handover, and the distribution of several."`
	Tracks    bool    `help:"With --json: every packet and phase too, for pictures made later by report."`
	Probe     bool    `default:"true" negatable:"" help:"Measure the time from link up to the first packet, with 5000 packets/s around the move."`
	ProbeRate int     `name:"probe-rate" placeholder:"5000" help:"Another rate of that; by 802.11, where processors are emulated, it is 100 unless given."`
	Access    string  `enum:"cable,wifi" default:"cable" help:"How the node is attached: by a cable that moves, or by 802.11 with simulated radios, which \"mpa-lab wifi\" has a kernel for."`
	Minutes   float64 `default:"10" placeholder:"10" help:"How long the node walks, of wander."`
	WalkSeed  uint64  `name:"walk-seed" default:"1" placeholder:"1" help:"Another way with other shadows, of wander."`
	Position  bool    `default:"true" negatable:"" help:"The node knows where it is, of wander."`
	Keep      bool    `help:"Leave the lab up after the scenario until Ctrl-C, and say how to look around."`
	flags
}

func (c *runCmd) Run(a *app, k *kong.Context) error {
	s, o, err := c.prepare(a, k)
	if err != nil {
		return err
	}
	if err := a.ready(); err != nil {
		return err
	}
	res, err := scenario.Run(a.ctx, s, o, progress())
	if c.Pictures != "" {
		perr := drawResult(c.Pictures, res)
		if err == nil {
			err = perr
		}
	}
	if !c.Tracks {
		res.DropTracks()
	}
	if c.JSON != "" {
		if werr := res.WriteJSON(c.JSON); werr != nil && err == nil {
			err = werr
		}
	}
	if c.JSON != "-" {
		printResult(s, o, res, err)
	}
	return verdict(res.Problems, err)
}

// prepare finds the scenario and its options.
func (c *runCmd) prepare(a *app, k *kong.Context) (s scenario.Scenario, o scenario.Options, err error) {
	if s, err = scenario.Find(c.Scenario); err != nil {
		return s, o, err
	}
	if o, err = c.options(a); err != nil {
		return s, o, err
	}
	if c.Repeat < 1 {
		return s, o, fmt.Errorf("--repeat %d: expected 1 or more", c.Repeat)
	}
	if s.Access != "" && c.Access != s.Access {
		return s, o, fmt.Errorf("%s is for --access %s", s.Name, s.Access)
	}
	for _, f := range s.Fixes {
		if given(k, f) {
			return s, o, fmt.Errorf("--%s has no meaning for %s, which sets it itself", f, s.Name)
		}
	}
	o.Repeat, o.Probe, o.Keep, o.BufferOff, o.Tracks = c.Repeat, c.Probe, c.Keep, c.Buffer == "off", c.Tracks || c.Pictures != ""
	o.Wifi = c.Access == scenario.AccessWifi
	if !(c.Minutes > 0 && c.Minutes <= 600) {
		return s, o, fmt.Errorf("--minutes %v: expected more than 0, up to 600", c.Minutes)
	}
	o.Unplaced = !c.Position
	o.Walk, o.WalkSeed = time.Duration(c.Minutes*float64(time.Minute)), c.WalkSeed
	switch {
	case given(k, "probe-rate") && (c.ProbeRate < 1 || c.ProbeRate > 100_000):
		return s, o, fmt.Errorf("--probe-rate %d: expected 1 to 100000", c.ProbeRate)
	case given(k, "probe-rate"):
		o.ProbeRate = float64(c.ProbeRate)
	case o.Wifi:
		o.ProbeRate = traffic.SlowProbeRate
	}
	if c.Direction != "auto" {
		o.Direction = scenario.Direction(c.Direction)
	}
	if s.Adjust != nil {
		s.Adjust(&o, func(flag string) bool { return given(k, flag) })
	}
	o.Flags = c.record(s, o)
	return s, o, nil
}

// given reports whether a flag stood on the command line.
func given(k *kong.Context, name string) bool {
	for _, p := range k.Path {
		if p.Flag != nil && p.Flag.Name == name {
			return true
		}
	}
	return false
}

func printResult(s scenario.Scenario, o scenario.Options, res *report.Result, err error) {
	fmt.Printf("%s: %s\n", s.Name, s.Doc)
	if report.Roams(res) == nil && res.Soak == nil && res.Streams == nil { // of those there are many
		printHandovers(s, o, res)
	}
	fmt.Println()
	if len(res.Handovers)+len(res.Journeys) > 0 {
		fmt.Println(report.Tables(res))
	}
	if res.Soak != nil {
		fmt.Println(res.Soak.Table())
	}
	if len(res.Links) > 0 {
		fmt.Println(report.LinkLines(res.Links))
	}
	if o.LoseMarkers {
		fmt.Println(report.MarkerLine(res))
	}
	if err == nil && len(res.Problems) == 0 {
		fmt.Printf("Kept: %s.\n", s.PromiseWith(o))
	}
}

// printHandovers says with what traffic they were, and a line of each.
func printHandovers(s scenario.Scenario, o scenario.Options, res *report.Result) {
	fmt.Printf("traffic of %s, %s, %s\n\n", o.Rate, describeAccess(s, o), bed.DescribeDAD(o.DAD))
	for _, h := range res.Handovers {
		name := fmt.Sprintf("%s to %s", h.From, h.To)
		if h.Case != "" {
			name = h.Case
		}
		line := fmt.Sprintf("  %-36s %s", name, h.Outcome)
		if h.TLS != "" {
			line += ", authenticated with " + h.TLS
		}
		if h.Reason != "" {
			line += ": " + h.Reason
		}
		fmt.Println(line)
	}
}

// describeAccess says how the node is attached.
func describeAccess(s scenario.Scenario, o scenario.Options) string {
	if o.Wifi {
		text := "802.11 by simulated radios"
		if o.Probe && !slices.Contains(s.Fixes, "probe") {
			text += fmt.Sprintf(", a probe of %g packets/s", o.ProbeRate)
		}
		return text
	}
	return fmt.Sprintf("a link that is gone for %v", o.Gap)
}

// verdict says what failed.
func verdict(problems []string, err error) error {
	for _, p := range problems {
		fmt.Println("FAILED:", p)
	}
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return errQuiet
	}
	return nil
}

type listCmd struct{}

func (listCmd) Run(*app) error {
	for _, s := range scenario.All() {
		fmt.Printf("%-18s %s\n%-18s   promise: %s\n", s.Name, s.Doc, "", s.Promise)
	}
	fmt.Println("\nbenches:")
	for _, b := range bench.All() {
		fmt.Printf("%-18s %s\n", b.Name, b.Doc)
	}
	return nil
}

type testCmd struct {
	CrashSeed string   `env:"OPENMPA_CRASH_SEED" placeholder:"WORD" help:"Chooses which cells of the crash matrix are played, by default the commit does (${env})."`
	Only      []string `placeholder:"TEXT" sep:"none" help:"Only the checks that have this text in their names, as it stands; given more than once, those that have one of them."`
	flags
}

func (c *testCmd) Run(a *app) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	if err := a.ready(); err != nil {
		return err
	}
	o.CrashSeed, o.Only = c.CrashSeed, c.Only
	if scenario.Acceptance(a.ctx, o, a.self, progress(), os.Stdout) > 0 {
		return errQuiet
	}
	return nil
}

type topologyCmd struct {
	Dot bool `help:"In the language of graphviz: mpa-lab topology --dot | dot -Tsvg > lab.svg"`
}

func (c topologyCmd) Run(*app) error {
	if c.Dot {
		fmt.Print(topo.Dot(topo.Standard()))
		return nil
	}
	fmt.Print(topo.Draw(topo.Standard()))
	return nil
}
