package wpactrl

import (
	"fmt"
	"strings"
)

// bssMask selects of BSS: id, bssid, freq, level, age, flags, ssid, and lines between the networks.
const bssMask = 1<<0 | 1<<1 | 1<<2 | 1<<7 | 1<<9 | 1<<11 | 1<<12 | 1<<17

const (
	bssEnd  = "====" // of a network
	bssLast = "####" // of the last one
)

// BSSRange is the command that lists the networks that were seen, with their age, from the one with an id on.
func BSSRange(from int) string { return fmt.Sprintf("BSS RANGE=%d- MASK=0x%x", from, bssMask) }

// BSSUpdate is the command that asks for the number of the last scan in which an access point was seen: update_idx.
func BSSUpdate(bssid MAC) string { return fmt.Sprintf("BSS %v MASK=0x400000", bssid) }

// ParseBSSList reads the answer to BSSRange. next is the id to go on from, -1 when these were the last: an answer holds what
// fits in 4,096 octets.
func ParseBSSList(answer string) (list []BSS, next int) {
	next = -1
	for len(list) < maxRows {
		i := strings.Index(answer, bssEnd)
		last := strings.Index(answer, bssLast)
		if last >= 0 && (i < 0 || last < i) {
			i = last
		}
		if i < 0 { // what was cut off comes with the next answer
			return list, next
		}
		block := answer[:i]
		answer = answer[i+len(bssEnd):]
		id, ok := Lines(block).Int("id")
		if b, good := ParseBSS(block); good && ok {
			list = append(list, b)
		}
		if i == last {
			return list, -1
		}
		if ok {
			next = id + 1
		}
	}
	return list, -1
}
