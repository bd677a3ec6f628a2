package virtual

// Of IEEE 802.11-2020, table 19-23: the least signal with which a receiver must get along at each rate, 20 MHz, one stream. It is told as
// dB above that of the lowest, and the rate in Mbit/s.
var rates = [...]struct{ above, rate float32 }{
	{18, 65}, {17, 58.5}, {16, 52}, {12, 39}, {8, 26}, {5, 19.5}, {3, 13}, {0, 6.5},
}

// lossy is how many dB above Lost frames begin to be lost.
const lossy = 6

// Carried is what a link of a signal carries, in Mbit/s, and which part of the frames is lost, where below lost nothing is carried.
func Carried(signal, lost float32) (rate, loss float32) {
	over := signal - lost
	if over < 0 {
		return rates[len(rates)-1].rate, 1
	}
	loss = max(0, 1-over/lossy)
	loss *= loss / 2
	for i := range rates {
		if over >= rates[i].above {
			return rates[i].rate, loss
		}
	}
	return rates[len(rates)-1].rate, loss
}
