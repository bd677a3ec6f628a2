package server

import (
	"net/netip"
	"time"

	"openmpa/aaa/radius"
)

const (
	// cacheTime is how long a reply is repeated (RFC 5080 section 2.2.2: 5 to 30 s).
	cacheTime = 30 * time.Second
	// cacheSize bounds the replies kept, the oldest go first.
	cacheSize = 16384
)

// cacheKey tells requests apart that come on one socket.
type cacheKey struct {
	from netip.AddrPort
	code radius.Code
	id   uint8
}

// cached is a request seen, and its reply once there is one.
type cached struct {
	key           cacheKey
	authenticator [16]byte
	expires       time.Time
	reply         []byte // nil: none yet
}

// cache is the duplicate detection of RFC 5080 section 2.2.2. It has no lock.
type cache struct {
	entries map[cacheKey]*cached
	order   []*cached // oldest first; holds replaced ones until they expire
}

func newCache() *cache { return &cache{entries: make(map[cacheKey]*cached)} }

// add notes a verified request. seen says that it is a duplicate, and then e holds
// the reply to repeat, if there is one. Another request under the same identifier
// takes the place of the old one.
func (c *cache) add(now time.Time, key cacheKey, authenticator [16]byte) (e *cached, seen bool) {
	for len(c.order) > 0 && (len(c.order) >= cacheSize || !now.Before(c.order[0].expires)) {
		c.remove(c.order[0])
		c.order[0], c.order = nil, c.order[1:]
	}
	if e = c.entries[key]; e != nil && e.authenticator == authenticator {
		return e, true
	}
	e = &cached{key: key, authenticator: authenticator, expires: now.Add(cacheTime)}
	c.entries[key] = e
	c.order = append(c.order, e)
	return e, false
}

// remove forgets a request, so that its next copy is a new one.
func (c *cache) remove(e *cached) {
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
}
