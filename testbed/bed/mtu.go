package bed

import (
	"fmt"

	"openmpa/testbed/space"
	"openmpa/testbed/topo"
)

// narrow gives the links of both routers with the core Options.CoreMTU.
func (b *Bed) narrow() error {
	if b.opt.CoreMTU == 0 {
		return nil
	}
	set := func(s *space.Space, dev string) error {
		nl := s.Netlink()
		link, err := nl.LinkByName(dev)
		if err == nil {
			err = nl.LinkSetMTU(link, b.opt.CoreMTU)
		}
		if err != nil {
			return fmt.Errorf("bed: MTU of %s: %w", dev, err)
		}
		return nil
	}
	for _, n := range b.opt.networks() {
		if err := set(b.Top.Space(n.Router), "core"); err != nil {
			return err
		}
		if err := set(b.Top.Space(topo.Core), "to-"+n.Router); err != nil {
			return err
		}
	}
	return nil
}
