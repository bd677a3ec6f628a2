package par

import "openmpa/paa/notify"

// rekey answers a RekeyRequest.
func (v *visitor) rekey(m *notify.RekeyRequest) {
	v.r.send(v.sid, &notify.RekeyReply{Header: m.Header, Reason: "this router makes no successors of security associations: create the tunnel anew"})
}
