package diameter

import "fmt"

// linkState is what one connection has come to: the states of RFC 6733 section 5.6 that
// belong to a connection. Which of two connections a peer keeps is the registry's affair.
type linkState uint8

const (
	linkWaitCER linkState = iota // accepted: Closed, until R-Conn-CER
	linkWaitCEA                  // Wait-I-CEA
	linkOpen                     // R-Open, I-Open
	linkClosing                  // Closing: we have sent DPR
	linkLeaving                  // Closing: the peer has sent DPR, and is to close
	linkClosed
)

var linkStates = [...]string{"wait-cer", "wait-cea", "open", "closing", "leaving", "closed"}

func (s linkState) String() string {
	if int(s) < len(linkStates) {
		return linkStates[s]
	}
	return fmt.Sprintf("linkState(%d)", uint8(s))
}

// linkEvent is what may happen to a connection.
type linkEvent uint8

const (
	gotCER     linkEvent = iota
	gotCEA               // capabilities are good, or not: whoever does takeCER, takeCEA decides
	gotDWR               // Rcv-DWR
	gotDWA               // Rcv-DWA
	gotDPR               // Rcv-DPR
	gotDPA               // Rcv-DPA
	gotRequest           // Rcv-Message, R bit set
	gotAnswer            // Rcv-Message, R bit clear
	timedOut             // Timeout
	stopped              // Stop
	gone                 // Peer-Disc
)

// linkAction is what to do then, after the state has changed.
type linkAction uint8

const (
	ignore    linkAction = iota // count and drop
	takeCER                     // Process-CER, Snd-CEA
	takeCEA                     // Process-CEA
	answerDWR                   // Process-DWR, Snd-DWA
	noteDWA                     // Process-DWA
	answerDPR                   // Snd-DPA
	process                     // Process
	refuse                      // answer that we are leaving
	deliver                     // to whoever waits for it
	bye                         // Snd-DPR
	hangUp                      // Disc, Error, Reject
)

// next is the table: every pair is in it.
func (s linkState) next(e linkEvent) (linkState, linkAction) {
	switch e {
	case timedOut, gone:
		return linkClosed, hangUp
	}
	switch s {
	case linkWaitCER:
		// 5.6.1: any message but a CER closes the connection.
		if e == gotCER {
			return linkOpen, takeCER
		}
		return linkClosed, hangUp
	case linkWaitCEA:
		if e == gotCEA {
			return linkOpen, takeCEA
		}
		return linkClosed, hangUp // I-Rcv-Non-CEA, Stop
	case linkOpen:
		switch e {
		case gotDWR:
			return linkOpen, answerDWR
		case gotDWA:
			return linkOpen, noteDWA
		case gotDPR:
			return linkLeaving, answerDPR
		case gotRequest:
			return linkOpen, process
		case gotAnswer:
			return linkOpen, deliver
		case stopped:
			return linkClosing, bye
		case gotCER, gotCEA:
			return linkClosed, hangUp // once is enough: what peer is this?
		}
		return linkOpen, ignore // a DPA nobody asked for
	case linkClosing, linkLeaving:
		switch e {
		case gotDPA:
			return linkClosed, hangUp
		case gotDPR: // both at once
			return s, answerDPR
		case gotDWR:
			return s, answerDWR
		case gotDWA:
			return s, noteDWA
		case gotRequest:
			return s, refuse
		case gotAnswer:
			return s, deliver // 5.4: what is under way may still come
		case stopped:
			if s == linkLeaving {
				return linkClosed, hangUp
			}
		}
		return s, ignore
	}
	return linkClosed, ignore
}
