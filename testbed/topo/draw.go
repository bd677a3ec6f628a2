package topo

import (
	"fmt"
	"strings"
)

// Draw shows the plan as text: the networks as a picture, then each node
// with its interfaces.
func Draw(p Plan) string {
	var b strings.Builder
	b.WriteString(picture)
	b.WriteString("\n")
	for _, n := range p.Nodes {
		head := n.Role
		if n.Runs != "" {
			head += ", runs " + n.Runs
		}
		fmt.Fprintf(&b, "%-5s %s\n", n.Name, head)
		for _, br := range n.Bridges {
			line := "bridge " + br
			for _, a := range p.Addresses {
				if a.Node == n.Name && a.If == br {
					line += " " + a.Addr.String()
				}
			}
			var ports []string
			for _, l := range p.Links {
				for _, e := range []End{l.A, l.B} {
					if e.Node == n.Name && e.Bridge == br {
						ports = append(ports, e.If)
					}
				}
			}
			fmt.Fprintf(&b, "      %s, ports %s\n", line, strings.Join(ports, " "))
		}
		for _, l := range p.Links {
			for _, ends := range [][2]End{{l.A, l.B}, {l.B, l.A}} {
				if ends[0].Node != n.Name {
					continue
				}
				addr := "-"
				if ends[0].Addr.IsValid() {
					addr = ends[0].Addr.String()
				}
				note := "link " + l.Name
				if l.Down {
					note = "(moves from one bridge to the other)"
				}
				fmt.Fprintf(&b, "      %-7s %-14s to %-12s %s\n", ends[0].If, addr, ends[1].Node+"/"+ends[1].If, note)
			}
		}
	}
	return b.String()
}

const picture = `
      network b  10.1.0.0/24                      network a  10.2.0.0/24

   poa-b1 --+                                                +-- poa-a1
            +-- lan0 [rb] 10.1.0.1        10.2.0.1 [ra] lan0 --+
   poa-b2 --+    |     \                            /    |    +-- poa-a2
      :          |   10.0.1.0/30        10.0.2.0/30     |         :
      :        dhcp       \                  /        dhcp        :
     [mn]    10.1.0.3      +--- [core] -----+       10.2.0.3   [bare]
   joins one               /      |      \                   10.2.0.250
   at a time     10.0.3.0/30  10.0.4.0/30  10.0.5.0/30
                         |        |           |
                       [ha]     [cn]        [aaa]
                         |    10.0.4.1     10.0.5.1
            home link 10.9.0.0/24
                         |
                       [hl] 10.9.0.9       home address of mn: 10.9.0.2

   Beside each address 10.A.B.C there is one of IPv6, 2001:db8:A:B::C.
`

// Dot is the plan in the language of graphviz.
func Dot(p Plan) string {
	var b strings.Builder
	b.WriteString("graph lab {\n  node [shape=box];\n")
	for _, n := range p.Nodes {
		if n.Name == Air {
			continue
		}
		fmt.Fprintf(&b, "  %q [label=%q];\n", n.Name, strings.TrimSpace(n.Name+"\n"+n.Role+"\n"+n.Runs))
	}
	for _, n := range p.Nodes {
		if n.Name != Air {
			continue
		}
		for _, br := range n.Bridges {
			fmt.Fprintf(&b, "  %q [shape=ellipse];\n", br)
		}
	}
	name := func(e End) string {
		if e.Node == Air && e.Bridge != "" {
			return e.Bridge
		}
		return e.Node
	}
	for _, l := range p.Links {
		if l.Down { // joins any point of attachment
			for _, net := range Networks {
				if l.A.Node == Bare && net.Name != "a" {
					continue
				}
				for _, point := range net.Points {
					fmt.Fprintf(&b, "  %q -- %q [style=dashed];\n", l.A.Node, point)
				}
			}
			continue
		}
		attr := ""
		if l.A.Addr.IsValid() {
			attr = fmt.Sprintf(" [label=%q]", l.A.Addr.String())
		}
		fmt.Fprintf(&b, "  %q -- %q%s;\n", name(l.A), name(l.B), attr)
	}
	b.WriteString("}\n")
	return b.String()
}
