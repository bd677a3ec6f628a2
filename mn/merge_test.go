package mn

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/tunnel/flow"
)

// taken is who gets what comes out of merges.
type taken struct {
	mu  sync.Mutex
	got []byte
}

func (k *taken) deliver(pkt []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, pkt[19])
}

func (k *taken) check(t *testing.T, what string, want ...byte) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Equal(k.got, want) {
		t.Errorf("%s: came out %v, expected %v", what, k.got, want)
	}
	k.got = nil
}

// packet is an IPv4 header with a DSCP, and a mark where the destination ends.
func packet(dscp, mark byte) []byte {
	b := make([]byte, 20)
	b[0], b[1], b[19] = 0x45, dscp<<2, mark
	return b
}

func TestMerges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const voice, bulk = 46, 0
		k := &taken{}
		m := &merges{deliver: k.deliver}
		at := func(class uint8, number uint32) flow.Shim { return flow.Shim{Class: class, Epoch: 7, Number: number} }
		m.expect(true)
		m.numbered(at(1, 1), packet(voice, 1))
		m.numbered(at(1, 1), packet(voice, 1))
		m.numbered(at(1, 3), packet(voice, 3))
		m.numbered(at(2, 1), packet(bulk, 101))
		k.check(t, "a copy twice, and one that is missing", 1, 101)
		m.plain(packet(bulk, 102))
		k.check(t, "of another class, without a number", 102)
		m.numbered(at(1, 2), packet(voice, 2))
		k.check(t, "the missing one", 2, 3)

		m.numbered(at(1, 5), packet(voice, 5))
		m.plain(packet(voice, 6))
		k.check(t, "without a number, behind a missing one", 5, 6)

		m.numbered(at(1, 8), packet(voice, 8))
		m.numbered(at(2, 3), packet(bulk, 103))
		time.Sleep(mergeWait / 2)
		synctest.Wait()
		k.check(t, "too early")
		m.numbered(at(1, 10), packet(voice, 10))
		time.Sleep(mergeWait/2 + time.Millisecond)
		synctest.Wait()
		k.check(t, "one wait is over", 8, 103)
		time.Sleep(mergeWait/2 + time.Millisecond)
		synctest.Wait()
		k.check(t, "the next, too", 10)
		m.numbered(at(1, 7), packet(voice, 7))
		k.check(t, "late", 7)

		m.numbered(at(1, 12), packet(voice, 12))
		m.expect(false)
		k.check(t, "the node has arrived", 12)
		m.numbered(at(1, 14), packet(voice, 14))
		k.check(t, "and waits for nothing", 14)
		m.numbered(at(1, 14), packet(voice, 14))
		k.check(t, "but knows what it had")

		m.expect(true)
		m.numbered(at(1, 16), packet(voice, 16))
		m.close()
		k.check(t, "closed", 16)
		m.numbered(at(1, 18), packet(voice, 18))
		k.check(t, "what a reader had in hand", 18)
		for class, s := range m.stats() {
			dropped := s.Dropped[flow.ReasonNumber]
			if s.In != s.Delivered+s.Queued+dropped || s.Queued > 0 {
				t.Errorf("class %d: %+v", class, s)
			}
		}
		time.Sleep(time.Second) // no timer is left
	})
}
