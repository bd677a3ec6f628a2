package bed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"openmpa/aaa/server"
)

// An AAA is a way in which the second authentication server of a lab is set
// up; see Options.OwnAAA.
type AAA int

const (
	// AAAGood is set up as the first server is.
	AAAGood AAA = iota
	// AAAOtherCA has a certificate of an authority the node does not know.
	AAAOtherCA
	// AAAOtherName has a certificate of the right authority for another name.
	AAAOtherName
	// AAAOtherClients has a certificate the node trusts, but does not know
	// the authority of the node's.
	AAAOtherClients
)

// OwnAAAName is the daemon name of the second server.
const OwnAAAName = "aaa2"

// setup is the state directory and the server name of each.
func (a AAA) setup() (state, serverName string) {
	switch a {
	case AAAOtherCA:
		return "aaa-other-ca", ServerName
	case AAAOtherName:
		return "aaa-other-name", "other.home.example"
	case AAAOtherClients:
		return "aaa-other-clients", ServerName
	default:
		return "aaa-state", ServerName
	}
}

// OwnAAA starts the second authentication server, or replaces it.
func (b *Bed) OwnAAA(ctx context.Context, a AAA) error {
	if b.children[OwnAAAName] != nil {
		if err := b.stop(OwnAAAName); err != nil {
			return err
		}
	}
	return b.startHomeServer(ctx, ownServer, a)
}

// certificates makes the state directories of the servers, and the mobile
// node's certificate and trusted authorities in the directory mn.
func (b *Bed) certificates() error {
	first, err := server.OpenState(b.Run.File("aaa-state"))
	if err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	if _, err := first.Issue(MNIdentity, b.Run.File("mn")); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	if b.opt.OwnAAA == "" {
		return nil
	}
	for _, a := range []AAA{AAAOtherCA, AAAOtherClients} {
		state, _ := a.setup()
		if _, err := server.OpenState(b.Run.File(state)); err != nil {
			return fmt.Errorf("bed: %w", err)
		}
	}
	// The same authority, so that only the name is wrong.
	state, _ := AAAOtherName.setup()
	if err := os.Mkdir(b.Run.File(state), 0o700); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	for _, name := range []string{"ca.pem", "ca.key"} {
		if err := copyFile(b.Run.File(state, name), b.Run.File("aaa-state", name)); err != nil {
			return err
		}
	}
	// The node trusts the authority that does not know its certificate.
	state, _ = AAAOtherClients.setup()
	pem, err := os.ReadFile(b.Run.File(state, "ca.pem"))
	if err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	f, err := os.OpenFile(b.Run.File("mn", "ca.pem"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(pem); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	return nil
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(filepath.Clean(from))
	if err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	return nil
}
