package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"openmpa/testbed/bed"
)

// keep leaves the lab as it is until ctx ends, and says how to look around.
func keep(ctx context.Context, b *bed.Bed, failed error) {
	out := os.Stdout
	if failed != nil {
		fmt.Fprintf(out, "The scenario failed: %v\n", failed)
	}
	fmt.Fprintf(out, "\nLab %d is kept; its files are in %s. Ctrl-C takes it apart.\n\n", b.Run.ID, b.Run.Path)
	for _, n := range b.Top.Plan.Nodes {
		fmt.Fprintf(out, "  ip netns exec %-14s ip addr          # %s\n", b.Run.NamePrefix()+n.Name, n.Role)
	}
	fmt.Fprintln(out)
	// Under sudo the folder is not in the path.
	ctl := filepath.Join(b.Bin(), "mpactl")
	for _, d := range b.Daemons() {
		fmt.Fprintf(out, "  %s --socket %s status\n", ctl, b.Run.File(d+".sock"))
	}
	fmt.Fprintf(out, "  %s --socket %s handover a\n\n", ctl, b.Run.File("mn.sock"))
	<-ctx.Done()
}
