package aaa

import (
	"context"
	"errors"
	"fmt"

	"openmpa/aaa/radius"
)

// NewRADIUS makes a Backend of one operator's RADIUS servers. The client stays the
// caller's to close.
func NewRADIUS(client *radius.Client) Backend {
	return &Realms{operators: []Operator{{Name: "radius", Carrier: NewRADIUSCarrier(client)}}}
}

// NewRADIUSCarrier makes a Carrier of RADIUS servers. The client stays the caller's to
// close.
func NewRADIUSCarrier(client *radius.Client) Carrier { return &radiusCarrier{client} }

type radiusCarrier struct{ client *radius.Client }

func (c *radiusCarrier) Open(info SessionInfo, identity string) (Conversation, error) {
	return &radiusConversation{
		client: c.client,
		req: radius.Request{
			UserName: identity, NASPort: info.NASPort, CallingStation: info.CallingStation, CalledStation: info.CalledStation,
		},
	}, nil
}

func (c *radiusCarrier) Account(context.Context, Record) error {
	return errors.New("aaa: no accounting over RADIUS yet")
}

func (c *radiusCarrier) Run(ctx context.Context, _ Orders) error {
	<-ctx.Done()
	return nil
}

type radiusConversation struct {
	client *radius.Client
	req    radius.Request // State and Server are those of the last challenge
}

func (c *radiusConversation) Ask(ctx context.Context, response []byte) (Answer, error) {
	c.req.EAP = response
	r, err := c.client.Exchange(ctx, c.req)
	if err != nil {
		if silent := (*radius.TimeoutError)(nil); errors.As(err, &silent) {
			return Answer{}, &timeoutError{err}
		}
		return Answer{}, fmt.Errorf("aaa: %w", err)
	}
	c.req.State, c.req.Server = r.State, r.Server
	a := Answer{EAP: r.EAP, MSK: r.MSK, Message: r.ReplyMessage, Server: r.Server.String()}
	switch r.Code {
	case radius.AccessAccept:
		a.Decision, a.Timeout, a.Grant = Accept, r.SessionTimeout, Grant{Identity: r.UserName}
	case radius.AccessReject:
		a.Decision = Reject
	}
	return a, nil
}

func (c *radiusConversation) Close() {}
