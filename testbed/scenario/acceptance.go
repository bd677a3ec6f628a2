package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/crash"
	"openmpa/testbed/impair"
	"openmpa/testbed/report"
	"openmpa/testbed/rundir"
	"openmpa/testbed/space"
	"openmpa/testbed/traffic"
)

// A check is one line of the acceptance set. Its problems are what is wrong.
type check struct {
	name  string
	place place
	run   func(ctx context.Context, p *Progress) (problems []string, err error)
}

// A place says what a check may have beside it.
type place uint8

const (
	// alone is for what judges times, or sends what keeps a processor busy.
	alone place = iota
	// beside is for what waits most of its time: it may have a virtual machine beside it, and no other lab. What a kernel
	// does to take the namespaces of a lab away may keep it from moving links in others for many seconds.
	beside
	// emulated is in a virtual machine, whose kernel is its own.
	emulated
)

// Acceptance runs the short set that a change has to pass, writes a line
// for each check and a closing one, and returns how many failed. self is the
// lab's own program, which one check starts and kills.
func Acceptance(ctx context.Context, opt Options, self string, p *Progress, w io.Writer) (failed int) {
	list := checks(opt, self)
	if len(opt.Only) > 0 {
		list = slices.DeleteFunc(list, func(c check) bool {
			return !slices.ContainsFunc(opt.Only, func(text string) bool { return strings.Contains(c.name, text) })
		})
	}
	return acceptance(ctx, list, p, w)
}

// acceptance runs checks: those that are alone first, one after the other, then those of virtual machines beside the others.
// Each has a lab of its own.
func acceptance(ctx context.Context, list []check, p *Progress, w io.Writer) (failed int) {
	var mu sync.Mutex // guards what is counted, and written to w
	passed := 0
	play := func(c check, p *Progress) {
		if ctx.Err() != nil {
			return
		}
		start := time.Now()
		problems, err := c.run(ctx, p)
		if err != nil {
			problems = append(problems, err.Error())
		}
		if ctx.Err() != nil {
			problems = append(problems, "interrupted")
		}
		p.Done()
		mu.Lock()
		defer mu.Unlock()
		word := "PASS"
		if len(problems) > 0 {
			word = "FAIL"
			failed++
		} else {
			passed++
		}
		fmt.Fprintf(w, "%s  %s (%.1f s)\n", word, c.name, time.Since(start).Seconds())
		for _, line := range problems {
			fmt.Fprintf(w, "      %s\n", strings.ReplaceAll(line, "\n", "\n      "))
		}
	}
	places := make(map[place][]check)
	for _, c := range list {
		places[c.place] = append(places[c.place], c)
	}
	for _, c := range places[alone] {
		play(c, p)
	}
	var all sync.WaitGroup
	for _, lane := range []place{emulated, beside} {
		all.Go(func() {
			p := p.With(map[place]string{emulated: "virtual machine: ", beside: "lab: "}[lane])
			for _, c := range places[lane] {
				play(c, p)
			}
		})
	}
	all.Wait()
	fmt.Fprintf(w, "%d passed, %d failed\n", passed, failed)
	return failed
}

func checks(opt Options, self string) []check {
	scenario := func(name string, change func(*Options)) func(context.Context, *Progress) ([]string, error) {
		return func(ctx context.Context, p *Progress) ([]string, error) {
			o := opt
			if change != nil {
				change(&o)
			}
			return problemsOf(ctx, name, o, p)
		}
	}
	list := []check{
		{"handover, three times: nothing lost, duplicated or reordered", beside, scenario("handover", func(o *Options) { o.Repeat = 3 })},
		{"handover with a link gone for 50 ms", alone, scenario("handover", func(o *Options) { o.Gap = 50 * time.Millisecond })},
		{"handover under 100 Mbit/s", alone, scenario("handover", func(o *Options) { o.Rate, _ = traffic.ParseRate("100M") })},
		{"handover with access links that only authenticated nodes may use: the node is invited, a stranger gets nothing through", beside, scenario("handover", func(o *Options) {
			o.Enforce, o.Repeat, o.Agent = true, 2, bed.AgentInvites
		})},
		{"break-before-make: traffic goes on", beside, scenario("break-before-make", nil)},
		{"failed switch, dead and refused: back, and traffic goes on", beside, scenario("failed-switch", func(o *Options) { o.Repeat = 2 })},
		{"small buffer: losses are what the router counts", beside, scenario("small-buffer", func(o *Options) { o.Gap = smallGap })},
		{"a link with 20 ms and loss: lost is what the link lost", alone, func(ctx context.Context, p *Progress) ([]string, error) { return badLink(ctx, opt, p) }},
		{"every marker lost once: nothing else lost, duplicated or reordered", beside, scenario("handover", func(o *Options) { o.LoseMarkers = true })},
		{"address translators that forget everything", beside, scenario("nat-rebind", nil)},
		{"handover with FreeRADIUS, TLS 1.2, and Kea", beside, scenario("handover", foreign("1.2", bed.AgentConfigured))},
		{"handover with FreeRADIUS, TLS 1.3, and Kea, which names the PAA", beside, scenario("handover", foreign("1.3", bed.AgentDHCP))},
		{aaaName(), beside, func(ctx context.Context, p *Progress) ([]string, error) { return pairwiseAAA(ctx, opt, p) }},
		{"an authentication server killed in the middle: the other one authenticates the node in the same handover", beside, scenario("handover", func(o *Options) {
			o.Repeat, o.Probe, o.AAADown, o.Spare = 2, false, 3, true
		})},
		{"the link moved by somebody else: followed at once", alone, scenario("unplanned", func(o *Options) { o.Repeat, o.Probe = 2, true })},
		{"two interfaces: both up, one set up to move, one cut, and the node killed", beside, scenario("two-interfaces", func(o *Options) { o.Repeat, o.Probe = 2, false })},
		{"tunnels that have other keys while packets go by them", alone, scenario("rekey", func(o *Options) {
			o.Repeat, o.Probe = 1, false
			o.Rate, _ = traffic.ParseRate("100M")
		})},
		{"a link that dies with its carrier up: noticed; no alarm on a busy machine", alone, scenario("dead-link", func(o *Options) { o.Repeat, o.Probe = 2, false })},
		{"160 moves to and fro: nothing grows, nothing lost", beside, scenario("soak", func(o *Options) { o.Repeat, o.Probe = 160, false })},
		{"a WireGuard tunnel moved by a hook", alone, scenario("wireguard", func(o *Options) { o.Repeat = 2 })},
		{"faults: one reason each, the connection left alone", beside, scenario("faults", nil)},
		{"TCP through moves: no retransmission time-out", alone, scenario("tcp", func(o *Options) {
			o.Repeat, o.Lead = 3, 500*time.Millisecond
			o.Rate, _ = traffic.ParseRate(tcpRate)
		})},
		{deliveryName(true), alone, func(ctx context.Context, p *Progress) ([]string, error) { return deliveries(ctx, opt, true, p) }},
		{deliveryName(false), beside, func(ctx context.Context, p *Progress) ([]string, error) { return deliveries(ctx, opt, false, p) }},
		{"the cases of RFC 6252's Figures 6 and 7", alone, scenario("figure6-mip4", func(o *Options) { adjustFigure6(o, func(f string) bool { return f == "repeat" }) })},
		{"by 802.11, handover four times: lost only on the air, no authentication in a move, no key left", emulated, wireless(opt, self, "handover", "--repeat", "4", "--no-probe")},
		{"by 802.11, the link moved by another program: the node follows", emulated, wireless(opt, self, "roam")},
		{"by 802.11, keys of a node that is gone: gone with their lifetime", emulated, wireless(opt, self, "key-expiry")},
		{"by 802.11, the neighbour table's second: not with mpa-mn", emulated, wireless(opt, self, "trap", "--repeat", "3")},
		{crashName(opt), beside, func(ctx context.Context, p *Progress) ([]string, error) { return crashes(ctx, opt, p) }},
		{"two labs beside one another", alone, func(ctx context.Context, p *Progress) ([]string, error) { return twoLabs(ctx, opt, p) }},
		{"kill -9 of a lab: the next one removes what it left", alone, func(ctx context.Context, p *Progress) ([]string, error) { return killed(ctx, opt, self, p) }},
	}
	list = append(list, choices(scenario)...)
	return append(list, checks6(opt, scenario)...)
}

// badLink is a handover over a link that every packet passes, and that loses
// enough of them.
func badLink(ctx context.Context, opt Options, p *Progress) ([]string, error) {
	bad := impair.Params{Delay: 20 * time.Millisecond, Loss: 0.05}
	opt.Links = map[string]impair.Both{"core-ha": {In: bad, Out: bad, Seed: 1}}
	s, err := Find("handover")
	if err != nil {
		return nil, err
	}
	res, err := Run(ctx, s, opt, p)
	for _, h := range res.Handovers {
		if h.Flow.Down.Lost == 0 && h.Flow.Up.Lost == 0 {
			res.Problems = append(res.Problems, "the link lost no packet of the flow, so nothing was shown")
		}
	}
	return res.Problems, err
}

// foreign has other people's servers in the place of ours.
func foreign(tls, agent string) func(*Options) {
	return func(o *Options) { o.AAA, o.DHCP, o.TLS, o.Agent = bed.AAAFreeRADIUS, bed.DHCPKea, tls, agent }
}

// wireless runs a scenario in the virtual machine.
func wireless(opt Options, self string, args ...string) func(context.Context, *Progress) ([]string, error) {
	return func(ctx context.Context, _ *Progress) (problems []string, err error) {
		args := append([]string{"--bin", opt.Bin, "wifi"}, args...)
		if opt.Logs != "" {
			args = append(args, "--logs", opt.Logs)
		}
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it takes the machine away
		cmd.Stderr = os.Stderr                                                // its progress
		out, err := cmd.Output()
		for line := range strings.Lines(string(out)) {
			problem, begins := strings.CutPrefix(line, "FAILED: ")
			switch last := len(problems) - 1; {
			case begins:
				problems = append(problems, strings.TrimSpace(problem))
			case last >= 0 && strings.HasPrefix(line, "    "): // more about it
				problems[last] += "\n" + strings.TrimRight(line, "\n")
			}
		}
		if len(problems) > 0 {
			return problems, nil
		}
		return nil, err
	}
}

func problemsOf(ctx context.Context, name string, opt Options, p *Progress) ([]string, error) {
	s, err := Find(name)
	if err != nil {
		return nil, err
	}
	res, err := Run(ctx, s, opt, p)
	return res.Problems, err
}

// crashSeed chooses the cells of the crash matrix that are played: others for
// each commit, unless one is given.
func crashSeed(opt Options) string {
	if opt.CrashSeed != "" {
		return opt.CrashSeed
	}
	return opt.Commit
}

// crashName names the cells that are played.
func crashName(opt Options) string {
	var cells []string
	for _, c := range crash.Sample(crashSeed(opt)) {
		name := c.String()
		if c.IP == 6 {
			name += " (IPv6)"
		}
		cells = append(cells, name)
	}
	return "crashes: " + strings.Join(cells, ", ")
}

// crashes plays a sample of the crash matrix.
func crashes(ctx context.Context, opt Options, p *Progress) ([]string, error) {
	records, err := crash.Run(ctx, bed.Options{Bin: opt.Bin, Gap: opt.Gap}, opt.Commit, crash.Options{
		Cells: crash.Sample(crashSeed(opt)), Logs: opt.Logs, Progress: p.Line,
	})
	var problems []string
	for _, r := range records {
		for _, line := range r.Problems {
			problems = append(problems, fmt.Sprintf("%v: %s", r.Cell(), line))
		}
	}
	return problems, err
}

// deliveryMoves is how often the acceptance set plays a cell of the delivery matrix.
const deliveryMoves = 2

// deliveryCells are the pairwise cells whose traffic keeps the processors busy, or those whose traffic does not.
func deliveryCells(busy bool) []DeliveryCell {
	return slices.DeleteFunc(PairwiseDeliveryCells(deliveryMoves), func(c DeliveryCell) bool { return (c.Load != DeliveryLoads[0]) != busy })
}

// deliveryName says how much of the delivery matrix is played.
func deliveryName(busy bool) string {
	loads := DeliveryLoads[:1]
	if busy {
		loads = DeliveryLoads[1:]
	}
	return fmt.Sprintf("delivery, traffic %s: %d of %d cells, pairwise, %d moves in each", strings.Join(loads, " and "), len(deliveryCells(busy)), len(AllDeliveryCells(deliveryMoves)), deliveryMoves)
}

// deliveries plays them.
func deliveries(ctx context.Context, opt Options, busy bool, p *Progress) (problems []string, err error) {
	records, err := Delivery(ctx, opt.Bin, opt.Commit, DeliveryOptions{Cells: deliveryCells(busy), Logs: opt.Logs, Progress: p.Line})
	for _, r := range records {
		for _, line := range r.Problems {
			problems = append(problems, fmt.Sprintf("%v: %s", r.Cell(), line))
		}
	}
	return problems, err
}

// twoLabs runs the same scenario in two labs at the same time.
func twoLabs(ctx context.Context, opt Options, p *Progress) ([]string, error) {
	opt.Repeat = 2
	s, err := Find("handover")
	if err != nil {
		return nil, err
	}
	type outcome struct {
		res *report.Result
		err error
	}
	results := make(chan outcome, 2)
	for i := range 2 {
		go func() {
			res, err := Run(ctx, s, opt, p.With(fmt.Sprintf("lab %c: ", 'A'+i)))
			results <- outcome{res, err}
		}()
	}
	var problems []string
	var errs []error
	for range 2 {
		o := <-results
		problems = append(problems, o.res.Problems...)
		errs = append(errs, o.err)
	}
	return problems, errors.Join(errs...)
}

var labLine = regexp.MustCompile(`of lab ([0-9]+)`)

// killed starts a lab as a process of its own, kills it in the middle of a
// handover, and looks at what is left after another one has started.
func killed(ctx context.Context, opt Options, self string, p *Progress) (problems []string, err error) {
	cmd := exec.CommandContext(ctx, self, "--bin", opt.Bin, "run", "handover", "--repeat", "100",
		"--aaa", bed.AAAFreeRADIUS, "--dhcp", bed.DHCPKea) // their processes are to go, too
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// It is killed below; the error of Wait says no more than that.
	defer func() { _ = cmd.Wait() }()
	defer cmd.Process.Kill()
	p.Line("waiting for a handover in the lab that is going to be killed")
	id, seen, err := untilHandover(out)
	if err != nil {
		return nil, fmt.Errorf("scenario: the lab to be killed says %q: %w", seen, err)
	}
	if err := bed.Sleep(ctx, opt.Lead+300*time.Millisecond); err != nil {
		return nil, err
	}
	run := filepath.Join(rundir.Base, id)
	pids, err := rundir.Recorded(run)
	if err != nil {
		return nil, err
	}
	if len(pids) == 0 {
		problems = append(problems, "the lab has recorded no process of its own")
	}
	if err := cmd.Process.Kill(); err != nil {
		return problems, err
	}
	_ = cmd.Wait()
	b, err := bed.StartNetwork(ctx, opt.bed(p))
	if err != nil {
		return problems, err
	}
	for _, pid := range pids {
		if pid.Alive() {
			problems = append(problems, fmt.Sprintf("left behind: process %v", pid))
		}
	}
	mine := b.Run.NamePrefix()
	if names, err := space.List("mpa-" + id + "-"); err != nil {
		return problems, errors.Join(err, b.Close())
	} else if mine != "mpa-"+id+"-" && len(names) > 0 {
		problems = append(problems, fmt.Sprintf("left behind: namespaces %v", names))
	}
	if _, err := os.Stat(run); err == nil && b.Run.Path != run {
		problems = append(problems, "left behind: "+run)
	}
	return problems, b.Close()
}

// untilHandover reads what a lab says until its first handover is under way,
// and returns the lab's id.
func untilHandover(out io.Reader) (id, seen string, err error) {
	in := bufio.NewScanner(out)
	for in.Scan() {
		seen += in.Text() + "\n"
		if m := labLine.FindStringSubmatch(in.Text()); m != nil && id == "" {
			id = m[1]
		}
		if id != "" && strings.HasPrefix(in.Text(), "handover: ") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // or it would wait for a reader
			return id, seen, nil
		}
	}
	return "", seen, errors.New("it ended before its first handover")
}
