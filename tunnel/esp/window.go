package esp

// Window sizes in packets. RFC 4303 section 3.4.3 asks for at least 32 and
// recommends 64; a burst that was spread over several queues needs more.
const (
	DefaultWindow = 1024
	minWindow     = 32
	maxWindow     = 1 << 16
)

const (
	wordBits  = 64
	wordShift = 6
)

// window is the anti-replay window of RFC 6479: a ring of words, one of them
// redundant, so that sliding clears whole words and never shifts bits.
// Arithmetic is in 64 bits, so nothing wraps near the last sequence number.
type window struct {
	bits []uint64 // a power of two of words
	mask uint64
	size uint64 // packets the window covers
	top  uint64 // highest sequence number accepted
}

func newWindow(size int) window {
	words := uint64(1)
	for words < uint64(size+wordBits-1)/wordBits+1 {
		words <<= 1
	}
	return window{bits: make([]uint64, words), mask: words - 1, size: uint64(size)}
}

// check tells whether seq may be accepted: nil, ErrReplay or ErrTooOld.
func (w *window) check(seq uint64) error {
	switch {
	case seq == 0: // the first sequence number is 1 (RFC 4303 section 3.3.3)
		return ErrReplay
	case seq > w.top:
		return nil
	case w.top-seq >= w.size:
		return ErrTooOld
	case w.bits[seq>>wordShift&w.mask]&(1<<(seq&(wordBits-1))) != 0:
		return ErrReplay
	}
	return nil
}

// accept records seq, which check has let pass, and tells whether it is the
// highest so far.
func (w *window) accept(seq uint64) (newest bool) {
	if seq > w.top {
		newest = true
		first, last := w.top>>wordShift+1, seq>>wordShift
		if last-first+1 > w.mask { // passes over the whole ring
			clear(w.bits)
		} else {
			for i := first; i <= last; i++ {
				w.bits[i&w.mask] = 0
			}
		}
		w.top = seq
	}
	w.bits[seq>>wordShift&w.mask] |= 1 << (seq & (wordBits - 1))
	return newest
}
