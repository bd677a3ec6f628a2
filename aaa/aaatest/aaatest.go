// Package aaatest gives tests an EAP peer and an AAA server in memory, which speak
// a method of one round: the server sends a challenge, the peer returns it, and the
// MSK is made of it. It is imported by tests only.
package aaatest

import (
	"context"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"openmpa/aaa"
	"openmpa/paa/keys"
)

// The codes of RFC 3748 §4, and the types this package's conversations have.
const (
	request  = 1
	response = 2
	success  = 3
	failure  = 4

	typeIdentity = 1
	typeMethod   = 254
)

// Packet builds an EAP packet.
func Packet(code, id byte, data ...byte) []byte {
	b := append([]byte{code, id, 0, 0}, data...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// MSK is the key that a challenge makes, 64 octets.
func MSK(challenge []byte) *keys.Secret {
	sum := sha512.Sum512(challenge)
	return keys.NewSecret(sum[:])
}

// Peer is an EAP peer: a pana.EAPPeer. The zero value is ready, for one conversation.
type Peer struct {
	done, good bool
	challenge  []byte
	msk        *keys.Secret
}

// Handle returns the response to a packet, or nothing when it is the last.
func (p *Peer) Handle(b []byte) ([]byte, error) {
	switch b[0] {
	case request:
		if b[4] == typeIdentity {
			return Packet(response, b[1], append([]byte{typeIdentity}, "mn"...)...), nil
		}
		p.challenge = append([]byte(nil), b[5:]...)
		return Packet(response, b[1], b[4:]...), nil
	case success:
		p.done, p.good, p.msk = true, true, MSK(p.challenge)
	case failure:
		p.done = true
	}
	return nil, nil
}

// Result says how the conversation ended.
func (p *Peer) Result() (done, good bool, msk *keys.Secret) { return p.done, p.good, p.msk }

// Identity is whom a Backend accepts.
const Identity = "mn@home.example"

// Backend is an AAA server. The zero value accepts everybody, by a challenge that no
// conversation before had. Its fields are set before the first Start.
type Backend struct {
	// Verdict says how a conversation goes: it is asked at the response to the challenge; nil accepts.
	Verdict func(ctx context.Context) (aaa.Result, error)
	Refuse  error                // of Start
	Infos   chan aaa.SessionInfo // what Start was told, as long as there is room

	mu      sync.Mutex
	open    int // conversations that were not closed
	starts  byte
	granted []aaa.Grant
	ended   []Ended
	next    int // conversations that fail with nextErr
	nextErr error
}

// Ended is what Backend.Ended was told.
type Ended struct {
	Grant aaa.Grant
	Cause aaa.Cause
	Usage aaa.Usage
}

// Granted implements aaa.Backend.
func (b *Backend) Granted(g aaa.Grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.granted = append(b.granted, g)
}

// Ended implements aaa.Backend.
func (b *Backend) Ended(g aaa.Grant, cause aaa.Cause, u aaa.Usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = append(b.ended, Ended{g, cause, u})
}

// Books are the sessions that were granted, and those that have ended, in order.
func (b *Backend) Books() ([]aaa.Grant, []Ended) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.granted), slices.Clone(b.ended)
}

// Fail makes every conversation fail with err from now on, or succeed again if it is nil.
func (b *Backend) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Verdict = nil
	if err != nil {
		b.Verdict = func(context.Context) (aaa.Result, error) { return aaa.Result{Decision: aaa.Reject}, err }
	}
}

// FailNext makes the next n conversations fail with err, and those after succeed.
func (b *Backend) FailNext(n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Verdict, b.next, b.nextErr = nil, n, err
}

// Open is how many conversations were not closed.
func (b *Backend) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// Start implements aaa.Backend.
func (b *Backend) Start(_ context.Context, info aaa.SessionInfo) (aaa.Session, error) {
	if b.Refuse != nil {
		return nil, b.Refuse
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	b.starts++
	select {
	case b.Infos <- info:
	default:
	}
	return &conversation{b: b, salt: b.starts, again: info.Again}, nil
}

func (b *Backend) verdict() func(context.Context) (aaa.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next > 0 {
		b.next--
		err := b.nextErr
		return func(context.Context) (aaa.Result, error) { return aaa.Result{Decision: aaa.Reject}, err }
	}
	return b.Verdict
}

type conversation struct {
	b      *Backend
	salt   byte
	again  *aaa.Grant
	once   sync.Once
	rounds int
}

func (c *conversation) Identity() []byte { return Packet(request, 1, typeIdentity) }

func (c *conversation) Exchange(ctx context.Context, answer []byte) (aaa.Result, error) {
	if c.rounds++; c.rounds == 1 {
		return aaa.Result{EAP: Packet(request, 2, typeMethod, 7, c.salt)}, nil
	}
	if verdict := c.b.verdict(); verdict != nil {
		return verdict(ctx)
	}
	if len(answer) != 7 {
		return aaa.Result{}, errors.New("aaatest: unexpected response")
	}
	g := aaa.Grant{Session: fmt.Sprintf("session-%d", c.salt), Identity: Identity}
	if c.again != nil {
		g.Session = c.again.Session
	}
	return aaa.Result{EAP: Packet(success, 2), Decision: aaa.Accept, MSK: MSK(answer[5:]), Identity: Identity, Grant: g}, nil
}

func (c *conversation) Close() {
	c.once.Do(func() {
		c.b.mu.Lock()
		defer c.b.mu.Unlock()
		c.b.open--
	})
}
