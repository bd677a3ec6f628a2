package flow

import (
	"fmt"
	"math"
	"sync"
)

// Bank is the memory that a router has for packets of all its visitors. Each has a
// guaranteed part; of the rest a visitor may have as much as is still free, so that
// n greedy visitors have 1/(n+1) of it each, and a newcomer finds some (dynamic
// thresholds, Choudhury and Hahne 1998). Beyond what a visitor said it would need
// (Claim) it shares that with the others who hold more than their guarantee, as if what is
// free were theirs in equal parts, down to a quarter: whoever is overdue, or brings more
// than before, leaves room for those who keep to their word. One alone may have as much as
// stays free.
//
// It is the only thing of this package that visitors share, hence it has a lock.
type Bank struct {
	packets, bytes int // fixed after NewBank: all there is

	mu       sync.Mutex
	reserved [2]int // guarded by mu: guarantees that are not used, packets and octets
	used     [2]int // guarded by mu
	accounts int    // guarded by mu
	beyond   int    // guarded by mu: accounts that hold more than their guarantee
	refused  uint64 // guarded by mu
}

// BankStats is what a bank lends at the moment.
type BankStats struct {
	Packets  int    `json:"packets"`  // held by all visitors
	Bytes    int    `json:"bytes"`    // octets of those
	Accounts int    `json:"accounts"` // visitors
	Refused  uint64 `json:"refused"`  // packets for which there was no room
}

// NewBank makes a bank of so many packets and octets.
func NewBank(packets, bytes int) *Bank { return &Bank{packets: packets, bytes: bytes} }

// Account is one visitor's part of a bank. A nil account has no bound.
type Account struct {
	bank  *Bank  // fixed after Open
	floor [2]int // fixed after Open: packets and octets guaranteed
	used  [2]int // guarded by bank.mu
	claim [2]int // guarded by bank.mu: packets and octets it said it would need
	shut  bool   // guarded by bank.mu
}

// Open makes an account with a guarantee. It fails when the guarantees of all
// would be more than the bank has.
func (b *Bank) Open(packets, bytes int) (*Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if free := b.free(); packets < 0 || bytes < 0 || packets > free[0] || bytes > free[1] {
		return nil, fmt.Errorf("flow: %d packets and %d octets cannot be guaranteed to one visitor more: %d and %d are free; guarantee less, or hold more in all",
			packets, bytes, free[0], free[1])
	}
	a := &Account{bank: b, floor: [2]int{packets, bytes}, claim: [2]int{math.MaxInt, math.MaxInt}}
	b.accounts++
	b.reserved[0] += packets
	b.reserved[1] += bytes
	return a, nil
}

// free is what is neither used nor guaranteed to somebody who does not use it yet.
func (b *Bank) free() [2]int {
	return [2]int{b.packets - b.used[0] - b.reserved[0], b.bytes - b.used[1] - b.reserved[1]}
}

// Stats returns what is lent now.
func (b *Bank) Stats() BankStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return BankStats{Packets: b.used[0], Bytes: b.used[1], Accounts: b.accounts, Refused: b.refused}
}

// beyondClaim is how much less than others an account may have at most of what is free
// beyond its claim.
const beyondClaim = 4

// Claim says how much the visitor will need in all, its guarantee included, until
// Unclaim. An account that does not say so may have as much as is free.
func (a *Account) Claim(packets, bytes int) {
	a.bank.mu.Lock()
	defer a.bank.mu.Unlock()
	a.claim = [2]int{packets, bytes}
}

// Unclaim takes the claim back.
func (a *Account) Unclaim() { a.Claim(math.MaxInt, math.MaxInt) }

// take takes room for one packet.
func (a *Account) take(size int) bool {
	if a == nil {
		return true
	}
	b := a.bank
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.shut {
		b.refused++
		return false
	}
	free, others := b.free(), b.beyond
	if a.beyond() {
		others--
	}
	for i, n := range [2]int{1, size} {
		// beyond the guarantee: no more than what stays free
		now := max(a.used[i]-a.floor[i], 0)
		after := max(a.used[i]+n-a.floor[i], 0)
		share := free[i] - (after - now)
		if a.used[i]+n > a.claim[i] {
			share /= min(1+others, beyondClaim)
		}
		if after > now && after > share {
			b.refused++
			return false
		}
	}
	a.add(1, size)
	return true
}

// give gives back the room of n packets with so many octets in sum.
func (a *Account) give(n, bytes int) {
	if a == nil || n == 0 {
		return
	}
	a.bank.mu.Lock()
	defer a.bank.mu.Unlock()
	if a.shut {
		return
	}
	a.add(-n, -bytes)
}

// beyond says whether the account holds more than its guarantee; the caller holds the lock.
func (a *Account) beyond() bool { return a.used[0] > a.floor[0] || a.used[1] > a.floor[1] }

// add changes what is used; the caller holds the lock.
func (a *Account) add(packets, bytes int) {
	was := a.beyond()
	for i, n := range [2]int{packets, bytes} {
		a.bank.reserved[i] -= max(a.floor[i]-a.used[i], 0)
		a.used[i] += n
		a.bank.used[i] += n
		a.bank.reserved[i] += max(a.floor[i]-a.used[i], 0)
	}
	if is := a.beyond(); is && !was {
		a.bank.beyond++
	} else if was && !is {
		a.bank.beyond--
	}
}

// Close ends the account: what it still holds is given back, and it lends nothing any more.
func (a *Account) Close() {
	a.bank.mu.Lock()
	defer a.bank.mu.Unlock()
	if a.shut {
		return
	}
	a.shut = true
	a.add(-a.used[0], -a.used[1])
	for i := range a.floor {
		a.bank.reserved[i] -= a.floor[i]
	}
	a.floor = [2]int{}
	a.bank.accounts--
}
