package inet

import (
	"encoding/hex"
	"testing"
	"time"
)

func TestChecksum(t *testing.T) {
	// RFC 1071 section 3: the words 0001 f203 f4f5 f6f7 have the sum ddf2.
	b, _ := hex.DecodeString("0001f203f4f5f6f7")
	if got := Fold(Sum(0, b)); got != 0xddf2 {
		t.Errorf("%#x", got)
	}
	if got := Fold(Sum(Sum(0, b[:4]), b[4:])); got != 0xddf2 {
		t.Errorf("in two parts %#x", got)
	}
	if got := Fold(Sum(0, []byte{1, 2, 3})); got != 0x0402 {
		t.Errorf("odd octet %#x", got)
	}
	if got := Fold(Sum(0, []byte{0xff, 0xff, 0, 1, 0xff, 0xff})); got != 1 {
		t.Errorf("carries %#x", got)
	}
}

func TestTimestamps(t *testing.T) {
	// RFC 5905 figure 4: 1970-01-01 is 2208988800 s of era 0, 1999-12-31 3155587200 s.
	if got := NTP(time.Unix(0, 0)); got != 2208988800<<32 {
		t.Errorf("1970: %#x", got)
	}
	if got := NTP(time.Date(1999, 12, 31, 0, 0, 0, 500_000_000, time.UTC)); got != 3155587200<<32|1<<31 {
		t.Errorf("1999: %#x", got)
	}
	before := NTP(time.Date(2036, 2, 7, 6, 28, 15, 0, time.UTC)) // last second of era 0
	after := NTP(time.Date(2036, 2, 7, 6, 28, 17, 250_000_000, time.UTC))
	if before>>32 != 0xffffffff || after>>32 != 1 {
		t.Fatalf("era: %#x %#x", before, after)
	}
	if !Newer(after, before) || Newer(before, after) || Newer(after, after) {
		t.Error("order across the wrap of 2036")
	}
	if got := Skew(after, before); got != 2250*time.Millisecond {
		t.Errorf("skew %v", got)
	}
	if got := Skew(before, after); got != -2250*time.Millisecond {
		t.Errorf("skew %v", got)
	}
}
