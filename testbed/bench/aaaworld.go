package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"openmpa/aaa/radius"
	"openmpa/aaa/server"
	"openmpa/testbed/bench/pac"
	"openmpa/testbed/peers"
	"openmpa/testbed/proc"
)

const (
	aaaIdentity = "mn@home.example"
	aaaName     = "aaa.home.example"
	aaaSecret   = "testing123"
)

// An aaaWorld is two namespaces: the home server in the right one, whoever authenticates
// in the left one.
type aaaWorld struct {
	*pair
	o     Options
	files []string // certificate, key and authority of the node
	chain string   // certificate and authority in one file
	homes map[homeKind]*aaaHome
}

// A homeKind is a server, as it is set up.
type homeKind string

const (
	homeFreeRADIUS homeKind = "FreeRADIUS"
	homeSessions   homeKind = "FreeRADIUS with sessions to resume"
	homeOurs       homeKind = "mpa-aaa"
)

// aaaHome is one server, and the router that asks it.
type aaaHome struct {
	server netip.AddrPort
	paa    netip.AddrPort
	child  *proc.Child
	router *helper
	wire   *radiusWire
}

// newAAAWorld starts servers.
func newAAAWorld(ctx context.Context, o Options, rtt time.Duration, kinds ...homeKind) (w *aaaWorld, err error) {
	w = &aaaWorld{o: o, homes: map[homeKind]*aaaHome{}}
	if w.pair, err = newPairAt(rtt, o.Say.Line); err != nil {
		return nil, err
	}
	if err := w.start(ctx, kinds); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *aaaWorld) start(ctx context.Context, kinds []homeKind) error {
	state, err := server.OpenState(w.run.File("state"))
	if err != nil {
		return err
	}
	if _, err := state.ServerCertificate(aaaName); err != nil {
		return err
	}
	if w.files, err = state.Issue(aaaIdentity, w.run.File("mn")); err != nil {
		return err
	}
	if w.chain, err = withAuthority(w.run.File("chain.pem"), w.files); err != nil {
		return err
	}
	if err := os.WriteFile(w.run.File("radius.secret"), []byte(aaaSecret+"\n"), 0o600); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	for i, kind := range kinds {
		if w.homes[kind], err = w.startHome(ctx, uint16(i), kind); err != nil {
			return err
		}
	}
	return nil
}

// withAuthority makes a file of a certificate and its authority: eapol_test sends both, since
// OpenSSL finds the second among those that it trusts.
func withAuthority(path string, files []string) (string, error) {
	own, err1 := os.ReadFile(files[0])
	ca, err2 := os.ReadFile(files[2])
	err := errors.Join(err1, err2)
	if err == nil {
		err = os.WriteFile(path, append(own, ca...), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	return path, nil
}

// log is the file for what a program writes.
func (w *aaaWorld) log(name string) string {
	if w.o.Logs != "" {
		return filepath.Join(w.o.Logs, name+".log")
	}
	return w.run.File(name + ".log")
}

// startHome starts a server, its router and who listens to both.
func (w *aaaWorld) startHome(ctx context.Context, number uint16, kind homeKind) (h *aaaHome, err error) {
	name := fmt.Sprintf("home-%d", number)
	h = &aaaHome{server: netip.AddrPortFrom(w.right.addr, 1812+10*number), paa: netip.AddrPortFrom(w.left.addr, 716+number)}
	if h.child, err = w.startServerOf(ctx, kind, name, h.server); err != nil {
		return h, err
	}
	if h.router, err = w.startPAA(name, h); err != nil {
		return h, err
	}
	h.wire, err = w.left.listen(linkName, h.server)
	return h, err
}

func (w *aaaWorld) startServerOf(ctx context.Context, kind homeKind, name string, at netip.AddrPort) (*proc.Child, error) {
	if kind == homeOurs {
		return w.startOwn(ctx, name, at)
	}
	return w.startFreeRADIUS(ctx, name, at, kind == homeSessions)
}

func (w *aaaWorld) startFreeRADIUS(ctx context.Context, name string, at netip.AddrPort, resume bool) (*proc.Child, error) {
	f := peers.FreeRADIUS{
		Dir: w.run.Path, Name: name, Listen: at, Clients: netip.MustParsePrefix("10.77.0.0/16"), Secret: aaaSecret,
		State: w.run.File("state"), Fragment: tauthFragment,
	}
	if resume {
		f.Sessions = w.run.File(name + ".sessions")
		if err := os.Mkdir(f.Sessions, 0o700); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
	}
	command, err := f.Command()
	if err != nil {
		return nil, err
	}
	return w.startServer(ctx, proc.Spec{
		Name: name, Space: w.right.Space, Command: command, Log: w.log(name),
		Answers: func(ctx context.Context) error {
			return f.Answers(ctx, aaaIdentity, func() (radius.Conn, error) { return listenUDP(w.left, w.left.addr) })
		},
	})
}

// startOwn starts mpa-aaa.
func (w *aaaWorld) startOwn(ctx context.Context, name string, at netip.AddrPort) (*proc.Child, error) {
	file, socket := w.run.File(name+".yaml"), w.run.File(name+".sock")
	text := fmt.Sprintf("node: %s\ncontrol: %s\nstate: %s\nserver-name: %s\nradius: {listen: \"%v\", clients: [{prefix: 10.77.0.0/16, secret-file: radius.secret}]}\n",
		name, socket, w.run.File("state"), aaaName, at)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return w.startServer(ctx, proc.Spec{
		Name: name, Space: w.right.Space, Command: []string{filepath.Join(w.o.Bin, "mpa-aaa"), "-config", file}, Log: w.log(name), Control: socket,
	})
}

func (w *aaaWorld) startServer(ctx context.Context, spec proc.Spec) (*proc.Child, error) {
	c, err := proc.Start(w.run, spec)
	if err != nil {
		return nil, err
	}
	return c, c.Ready(ctx, startWait)
}

// startPAA starts a router's PAA that asks a server.
func (w *aaaWorld) startPAA(name string, h *aaaHome) (*helper, error) {
	file := w.run.File("paa-" + name + ".yaml")
	text := fmt.Sprintf("aaa: [{radius: {servers: [{address: %q, secret-file: radius.secret}]}}]\n", h.server)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	p, err := w.left.startHelper(context.Background(), w.log("paa-"+name), AAAPAA{Listen: h.paa, Config: file}, w.o.Self, "aaa-paa")
	if err != nil {
		return nil, err
	}
	if err := p.read(&AAAState{}); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

func (w *aaaWorld) close() error {
	var errs []error
	for _, h := range w.homes {
		if h.wire != nil {
			errs = append(errs, h.wire.close())
		}
		if h.router != nil {
			errs = append(errs, h.router.stop())
		}
		if h.child != nil {
			errs = append(errs, h.child.Stop(stopWait))
		}
	}
	return errors.Join(append(errs, w.pair.close())...)
}

// nodeProgram is what the lab's script builds of the nodes.
const nodeProgram = "mpa-lab-node"

func (w *aaaWorld) startNodes(ctx context.Context, n pac.Nodes) (*helper, error) {
	program := filepath.Join(w.o.Bin, nodeProgram)
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("bench: %w; \"./testbed/lab bench\" builds it", err)
	}
	return w.left.startHelper(ctx, w.log("nodes"), n, program)
}

// authenticated is what one run of a subject gave.
type authenticated struct {
	wire    []onWire
	whole   []time.Duration // of ours: from the first PCI to the open session
	process time.Duration   // from the start of the process to its end
	cpu     time.Duration   // of the process
}

// ours has our node authenticate, in a new process.
func (w *aaaWorld) ours(ctx context.Context, way tauthWay, times int, cold bool) (a authenticated, err error) {
	h := w.homes[way.home]
	began := time.Now()
	c, err := w.startNodes(ctx, pac.Nodes{
		PAA: h.paa, From: []netip.Addr{w.left.addr}, Parallel: 1, Identity: aaaIdentity, Certificate: w.chain, Key: w.files[1], CA: w.files[2],
		ServerName: aaaName, TLS: way.tls, Fragment: tauthFragment, Resume: way.resume, Times: times, Pause: eapolPause, Stay: cold,
	})
	if err != nil {
		return a, err
	}
	var took pac.Took
	err = c.read(&took)
	if err := errors.Join(err, c.stop()); err != nil {
		return a, err
	}
	a.process, a.cpu, a.whole = time.Since(began), c.cmd.ProcessState.UserTime()+c.cmd.ProcessState.SystemTime(), took.Took
	if len(took.Failed) > 0 {
		return a, fmt.Errorf("bench: our node could not authenticate: %s", took.Failed[0])
	}
	a.wire, err = h.wire.take()
	return a, err
}

// eapol has eapol_test do the same.
func (w *aaaWorld) eapol(ctx context.Context, way tauthWay, times int) (a authenticated, err error) {
	h := w.homes[way.home]
	command, err := peers.EapolTest{
		Dir: w.run.Path, Name: "eapol", Server: h.server, Secret: aaaSecret, Identity: aaaIdentity,
		Certificate: w.files[0], Key: w.files[1], CA: w.files[2], ServerName: aaaName,
		No13: way.tls == "1.2", Fragment: tauthFragment, Again: times - 1, Full: !way.resume, Timeout: 60,
	}.Command()
	if err != nil {
		return a, err
	}
	began := time.Now()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	log, err := os.Create(w.log("eapol_test"))
	if err != nil {
		return a, fmt.Errorf("bench: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err = w.left.Do(cmd.Start); err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return a, fmt.Errorf("bench: eapol_test could not authenticate: %w; see %s, and what it wrote with --logs", err, log.Name())
	}
	a.process, a.cpu = time.Since(began), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	a.wire, err = h.wire.take()
	return a, err
}
