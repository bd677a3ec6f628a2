package impair

import (
	"math/bits"
	"time"
)

// lateness counts durations in buckets that are at most 1/64 of their value
// wide, from a microsecond on.
type lateness struct {
	count   [64 * subBuckets]uint64
	n       uint64
	longest time.Duration
}

const (
	subBits    = 6
	subBuckets = 1 << subBits
)

func (h *lateness) add(d time.Duration) {
	h.count[bucket(d)]++
	h.n++
	h.longest = max(h.longest, d)
}

// bucket is the number of the bucket of a duration.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < subBuckets {
		return int(us) //nolint:gosec // small
	}
	shift := bits.Len64(us) - 1 - subBits
	return (shift+1)*subBuckets + int(us>>shift) - subBuckets //nolint:gosec // small
}

// lowest is the shortest duration in a bucket.
func lowest(i int) time.Duration {
	if i < subBuckets {
		return time.Duration(i) * time.Microsecond
	}
	shift := i/subBuckets - 1
	return time.Duration((subBuckets+i%subBuckets)<<shift) * time.Microsecond
}

// percentile is the value that p percent do not exceed, by the nearest rank, to
// the width of a bucket.
func (h *lateness) percentile(p uint64) time.Duration {
	rank := (h.n*p + 99) / 100
	for i, n := range h.count {
		if n >= rank {
			return lowest(i)
		}
		rank -= n
	}
	return h.longest
}
