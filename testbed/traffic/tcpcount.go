package traffic

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"openmpa/testbed/space"
)

// TCPCount is what TCP in a namespace has counted since that was made.
type TCPCount struct {
	Retransmitted int64 // segments sent again, for whatever reason
	Timeouts      int64 // retransmission time-outs (RFC 6298)
	Spurious      int64 // of Timeouts: found to have been needless (F-RTO, RFC 5682)
	Probes        int64 // tail loss probes (RFC 8985, section 7.3), which are segments sent again, too
	// Needless are segments that the other side had already, by its word (D-SACK, RFC 2883).
	Needless int64
	// OutOfOrder are segments received after one with a higher number.
	OutOfOrder int64
}

// CountTCP reads the counters of a namespace.
func CountTCP(s *space.Space) (c TCPCount, err error) {
	err = s.Do(func() error {
		for _, name := range []string{"snmp", "netstat"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			c.parse(string(b))
		}
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("traffic: counters of TCP: %w", err)
	}
	return c, nil
}

// parse reads pairs of lines: names, then values.
func (c *TCPCount) parse(text string) {
	to := map[string]*int64{
		"Tcp: RetransSegs": &c.Retransmitted, "TcpExt: TCPTimeouts": &c.Timeouts, "TcpExt: TCPSpuriousRTOs": &c.Spurious,
		"TcpExt: TCPLossProbes": &c.Probes, "TcpExt: TCPDSACKRecvSegs": &c.Needless, "TcpExt: TCPOFOQueue": &c.OutOfOrder,
	}
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := 1; j < min(len(names), len(values)); j++ {
			if p := to[names[0]+" "+names[j]]; p != nil {
				*p, _ = strconv.ParseInt(values[j], 10, 64) // the kernel writes numbers
			}
		}
	}
}

// Since is what was counted after an earlier look.
func (c TCPCount) Since(before TCPCount) TCPCount {
	return TCPCount{
		c.Retransmitted - before.Retransmitted, c.Timeouts - before.Timeouts, c.Spurious - before.Spurious,
		c.Probes - before.Probes, c.Needless - before.Needless, c.OutOfOrder - before.OutOfOrder,
	}
}
